//! Header names in the form of actix's `http` crate: those that are usual on the protocol are made once.

use std::sync::LazyLock;

use actix_web::http::header::HeaderName;
use headgate_providers::{Name, wire};

static USUAL: LazyLock<Vec<HeaderName>> =
    LazyLock::new(|| wire::USUAL.into_iter().map(HeaderName::from_static).collect());

// Looked for by a name that is made already: made of a text, each look would cost a table and maybe an allocation.

/// The caller's key.
pub static API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Which substitutions the caller forbids.
pub static NO_FALLBACK: HeaderName = HeaderName::from_static("x-headgate-no-fallback");
/// The caller's own time limit, as the official SDKs tell it, seconds.
pub static STAINLESS_TIMEOUT: HeaderName = HeaderName::from_static("x-stainless-timeout");

/// The name; `None` for what is none on the wire.
#[must_use]
pub fn header(name: &Name) -> Option<HeaderName> {
    match name.usual() {
        Some(place) => USUAL.get(place).cloned(),
        None => HeaderName::from_bytes(name.as_str().as_bytes()).ok(),
    }
}
