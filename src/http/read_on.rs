//! A caller who left, at a backend that bills the whole answer all the same (`drain_on_disconnect`): what is under way is read on
//! for a bounded time, so that the record knows the usage.
//!
//! [`Abandonable`] and [`AbandonableReply`] are what the edge polls; dropped before their end they go on in a task of their own, the
//! only one a request can start, and only after its caller is gone. Elsewhere dropping them closes the upstream.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::clock::Moment;
use crate::gateway::Gateway;
use crate::relay::{Ended, Progress};
use crate::reply::Reply;
use crate::transport::Body;

/// A call on its way to a committed reply.
type Running<B> = Pin<Box<dyn Future<Output = Result<Reply<B>, Ended>>>>;

/// A call on its way to a committed reply, that may be read on.
pub struct Abandonable<B: Body> {
    running: Option<Running<B>>,
    progress: Rc<Progress>,
    gateway: Arc<Gateway>,
}

impl<B: Body> Abandonable<B> {
    /// Wraps `running`, which tells of itself in `progress`.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, running: Running<B>, progress: Rc<Progress>) -> Self {
        Self { running: Some(running), progress, gateway }
    }

    /// Since when an upstream's 200 is held back.
    #[must_use]
    pub fn held_since(&self) -> Option<Moment> {
        self.progress.held_since.get()
    }

    /// Polls the call; once it has settled there is nothing left to poll.
    pub fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply<B>, Ended>> {
        let Some(running) = &mut self.running else { return Poll::Pending };
        let settled = std::task::ready!(running.as_mut().poll(cx));
        self.running = None;
        Poll::Ready(settled)
    }
}

impl<B: Body> Drop for Abandonable<B> {
    fn drop(&mut self) {
        let Some(running) = self.running.take().filter(|_| self.progress.reads_on.get()) else { return };
        self.progress.abandoned.set(true);
        let bounds = Bounds::of(&self.gateway);
        super::spawn(bounds.run(async move {
            if let Ok(reply) = running.await {
                read_on(reply, bounds.bytes).await;
            }
        }));
    }
}

/// A committed reply that may be read on.
pub struct AbandonableReply<B: Body>(Option<Reply<B>>);

impl<B: Body> AbandonableReply<B> {
    /// Wraps a reply.
    #[must_use]
    pub fn new(reply: Reply<B>) -> Self {
        Self(Some(reply))
    }

    /// Bytes of a whole answer; `None` for a stream.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.0.as_ref().and_then(|reply| reply.head().length)
    }

    /// The next bytes for the caller; `None` at the end.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match &mut self.0 {
            Some(reply) => reply.poll_bytes(cx),
            None => Poll::Ready(None),
        }
    }
}

impl<B: Body> Drop for AbandonableReply<B> {
    fn drop(&mut self) {
        let Some(reply) = self.0.take().filter(Reply::reads_on) else { return };
        let bounds = Bounds::of(reply.gateway());
        super::spawn(bounds.run(read_on(reply, bounds.bytes)));
    }
}

/// How much is read on at most.
#[derive(Clone, Copy)]
struct Bounds {
    clock: crate::clock::Clock,
    until: Moment,
    bytes: u64,
}

impl Bounds {
    fn of(gateway: &Gateway) -> Self {
        let relay = &gateway.settings().relay;
        let until = gateway.clock.now() + relay.drain_on_disconnect;
        Self { clock: gateway.clock, until, bytes: relay.drain_on_disconnect_bytes }
    }

    /// Runs `work` until the time is over; what it holds is then dropped, and so settled.
    async fn run(self, work: impl Future<Output = ()>) {
        tokio::select! {
            () = work => {}
            () = self.clock.sleep_until(self.until) => {}
        }
    }
}

/// Reads `reply` to its end, or for `most` bytes, and shows it to nobody.
async fn read_on<B: Body>(mut reply: Reply<B>, most: u64) {
    reply.abandon();
    let mut read = 0;
    while let Some(bytes) = std::future::poll_fn(|cx| reply.poll_bytes(cx)).await {
        read += bytes.len() as u64;
        if read > most {
            return;
        }
    }
}
