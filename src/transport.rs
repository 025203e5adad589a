//! The one hole in the wall: how the core sends bytes without knowing who carries them.
//!
//! awc in service (`http::client`), a script in tests. Nothing here is `Send`: a worker keeps its connections to
//! itself, and the loop over this trait runs on any executor.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use headgate_providers::{Fault, WireHead, WireRequest};

use crate::config::checked::Backend;

/// Carries one request to an upstream.
pub trait Transport: 'static {
    /// The body of an answer; dropping it closes the upstream connection unless the body was read to its end.
    type Body: Body;

    /// Sends `request` to `backend` and waits for the head of its answer. The caller bounds the wait; dropping the future
    /// closes the connection. `fresh` forbids the reuse of an idle connection.
    ///
    /// # Errors
    /// Connect, TLS, reset, stale connection and early refusal, each as its own kind of [`Fault`].
    fn send(
        &self,
        backend: &Arc<Backend>,
        request: WireRequest,
        fresh: bool,
    ) -> impl Future<Output = Result<(WireHead, Self::Body), Fault>>;
}

/// The bytes of an answer, pulled.
pub trait Body: Unpin + 'static {
    /// The next bytes as they arrived; `None` at the end that HTTP's framing announced. An end without it is an error.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>>;
}
