//! Bodies towards the caller: a reply, a reply still held back that pings, an early answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Payload;
use bytes::Bytes;
use futures_util::Stream as _;
use tokio::time::Sleep;

use super::ingress::Buffered;
use super::read_on::{Abandonable, AbandonableReply};
use crate::gateway::Gateway;
use crate::relay::Ended;
use crate::reply::{Reply, error_event};
use crate::transport::Body;

/// A `ping` event as the Messages API streams it.
const PING: &[u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// A committed reply.
pub struct ReplyBody<B: Body> {
    reply: AbandonableReply<B>,
    _held: Buffered,
}

impl<B: Body> ReplyBody<B> {
    /// Sends `reply`; `held` counts the request's body until the reply is done.
    #[must_use]
    pub fn new(reply: Reply<B>, held: Buffered) -> Self {
        Self { reply: AbandonableReply::new(reply), _held: held }
    }
}

impl<B: Body> MessageBody for ReplyBody<B> {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.reply.length().map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.reply.poll_bytes(cx).map(|bytes| bytes.map(Ok))
    }
}

/// Where a held call stands.
#[expect(clippy::large_enum_variant, reason = "made once and taken apart at once")]
pub enum Held<B: Body> {
    /// It ended within the hold.
    Settled(Result<Reply<B>, Ended>),
    /// The hold is over and nothing has been committed: the caller is to be kept alive.
    Overdue(Abandonable<B>),
}

/// Runs a call, but no longer than until upstream's 200 has been held back for the configured time.
pub async fn hold<B: Body>(gateway: &Gateway, mut running: Abandonable<B>) -> Held<B> {
    let span = gateway.settings().relay.hold;
    let clock = gateway.clock;
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let settled = std::future::poll_fn(|cx| {
        if let Poll::Ready(result) = running.poll_settled(cx) {
            return Poll::Ready(Some(result));
        }
        while let Some(since) = running.held_since() {
            let until = since + span;
            let timer = timer.get_or_insert_with(|| Box::pin(clock.sleep_until(until)));
            if timer.deadline() != clock.instant(until) {
                timer.as_mut().reset(clock.instant(until));
            }
            std::task::ready!(timer.as_mut().poll(cx));
            if clock.now() >= until {
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    })
    .await;
    match settled {
        Some(result) => Held::Settled(result),
        None => Held::Overdue(running),
    }
}

enum Stage<B: Body> {
    Pinging(Abandonable<B>),
    Committed(Box<AbandonableReply<B>>),
    Done,
}

/// A stream whose 200 has been sent before anything was committed: pings only, then the reply, or one `error` event.
pub struct PingingBody<B: Body> {
    stage: Stage<B>,
    gateway: Arc<Gateway>,
    timer: Pin<Box<Sleep>>,
    _held: Buffered,
}

impl<B: Body> PingingBody<B> {
    /// Goes on with an overdue call.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, running: Abandonable<B>, held: Buffered) -> Self {
        let timer = Box::pin(gateway.clock.sleep_until(gateway.clock.now()));
        Self { stage: Stage::Pinging(running), gateway, timer, _held: held }
    }

    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        std::task::ready!(self.timer.as_mut().poll(cx));
        let next = self.gateway.clock.now() + self.gateway.settings().relay.ping_interval;
        self.timer.as_mut().reset(self.gateway.clock.instant(next));
        Poll::Ready(Bytes::from_static(PING))
    }
}

impl<B: Body> MessageBody for PingingBody<B> {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = &mut *self;
        loop {
            match &mut this.stage {
                Stage::Done => return Poll::Ready(None),
                Stage::Committed(reply) => return reply.poll_bytes(cx).map(|bytes| bytes.map(Ok)),
                Stage::Pinging(running) => match running.poll_settled(cx) {
                    Poll::Ready(Ok(reply)) => {
                        this.stage = Stage::Committed(Box::new(AbandonableReply::new(reply)));
                    }
                    Poll::Ready(Err(Ended { failure, mut record })) => {
                        record.failed(&failure);
                        record.status = 200;
                        let message = super::respond::message(&failure);
                        this.stage = Stage::Done;
                        let event = error_event(failure.error_type(), &message, record.id.as_str());
                        return Poll::Ready(Some(Ok(event)));
                    }
                    Poll::Pending => return this.poll_ping(cx).map(|ping| Some(Ok(ping))),
                },
            }
        }
    }
}

/// An answer to a caller who is still sending: the whole answer at once, then the rest of the upload is read and dropped,
/// up to a time and a number of bytes, so that closing does not destroy the answer on its way.
pub struct EarlyAnswer {
    answer: Option<Bytes>,
    length: u64,
    payload: Option<Payload>,
    left: u64,
    until: Pin<Box<Sleep>>,
}

impl EarlyAnswer {
    /// Sends `answer`, then drains `payload`.
    #[must_use]
    pub fn new(gateway: &Gateway, answer: Bytes, payload: Payload) -> Self {
        let settings = gateway.settings();
        let until = gateway.clock.now() + settings.server.early_answer;
        Self {
            length: answer.len() as u64,
            answer: Some(answer),
            payload: Some(payload),
            left: settings.server.early_answer_bytes,
            until: Box::pin(gateway.clock.sleep_until(until)),
        }
    }
}

impl MessageBody for EarlyAnswer {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.length)
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if let Some(answer) = self.answer.take() {
            return Poll::Ready(Some(Ok(answer)));
        }
        while let Some(payload) = &mut self.payload {
            match Pin::new(payload).poll_next(cx) {
                Poll::Ready(Some(Ok(dropped))) if (dropped.len() as u64) < self.left => {
                    self.left -= dropped.len() as u64;
                }
                Poll::Ready(Some(Ok(_) | Err(_)) | None) => self.payload = None,
                Poll::Pending => {
                    std::task::ready!(self.until.as_mut().poll(cx));
                    self.payload = None;
                }
            }
        }
        Poll::Ready(None)
    }
}
