//! Header names in the form of actix's `http` crate: those that are usual on the protocol are made once.

use std::sync::LazyLock;

use actix_web::http::header::HeaderName;
use headgate_providers::{Name, wire};

static USUAL: LazyLock<Vec<HeaderName>> =
    LazyLock::new(|| wire::USUAL.into_iter().map(HeaderName::from_static).collect());

/// The name; `None` for what is none on the wire.
#[must_use]
pub fn header(name: &Name) -> Option<HeaderName> {
    match name.usual() {
        Some(place) => USUAL.get(place).cloned(),
        None => HeaderName::from_bytes(name.as_str().as_bytes()).ok(),
    }
}
