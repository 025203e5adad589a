//! One attempt: encode, send, decode until it commits.
//!
//! Up to the first content frame everything can still be undone, so every failure in here is a [`Fault`] that the caller of
//! the gateway never sees. A reused idle connection that was already closed blames nobody and is tried once more, on a fresh
//! one, within the same attempt; so is a short-lived credential that upstream refused, once, with a fresh one.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use headgate_providers::{
    Bounds, Decoder, Encode, Fault, FaultKind, Frame, Limits, Mark, MessagesRequest, Obstacle, Operation,
    Secret, WireHead, WireRequest,
};
use serde::de::IgnoredAny;
use tokio::time::Sleep;

use crate::call::Call;
use crate::clock::{Clock, Moment};
use crate::credentials::Held;
use crate::decode;
use crate::pool::Lease;
use crate::transport::{Body, Transport};

/// Most bytes read of an error answer: the Messages API's own envelopes are below 1 KiB.
const ERROR_BODY_BYTES: usize = 1 << 20;

/// A committed answer: its head, the frames read so far (content among them), and where more come from.
pub struct Answered<B> {
    /// Status and headers.
    pub head: WireHead,
    /// Frames in order, not yet sent.
    pub frames: Vec<Frame>,
    /// Reads on; `None` when the answer is complete.
    pub rest: Option<(B, Box<dyn Decoder>)>,
    /// When the first content was there.
    pub committed_at: Moment,
}

/// What an attempt needs besides its lease.
pub struct Attempt<'a, T> {
    /// Carries the bytes.
    pub transport: &'a T,
    /// Time.
    pub clock: Clock,
    /// The call.
    pub call: &'a Call,
    /// What is sent: the call's own request, or what was made of it.
    pub request: &'a MessagesRequest,
    /// Bounds of what a decoder holds.
    pub bounds: Bounds,
    /// Set when upstream answered 200 to a stream: from then on the reply is held.
    pub held_since: &'a Cell<Option<Moment>>,
    /// When the call's first request was ready to leave.
    pub sent_at: &'a Cell<Option<Moment>>,
}

impl<T: Transport> Attempt<'_, T> {
    /// Runs the attempt under `lease`.
    ///
    /// # Errors
    /// Whatever went wrong before the answer committed.
    pub async fn run(&self, lease: &Lease) -> Result<Answered<T::Body>, Fault> {
        self.until_committed(lease).await.map_err(|fault| {
            let late = matches!(
                fault.kind,
                FaultKind::FirstEventTimeout | FaultKind::WholeTimeout | FaultKind::IdleTimeout
            );
            // The call's own time was over before the step's: that is no fault of this upstream.
            if late && self.clock.now() >= self.call.deadline {
                Fault::new(FaultKind::CallDeadline, "the call has lived for as long as any may")
            } else {
                fault
            }
        })
    }

    async fn until_committed(&self, lease: &Lease) -> Result<Answered<T::Body>, Fault> {
        let candidate = lease.candidate();
        let deadlines = &candidate.upstream.settings.deadlines;
        let first_event = lease.plan().first_event.unwrap_or(deadlines.first_event);
        let streams = self.request.outline.stream && self.request.operation == Operation::Messages;
        let limit = if streams { first_event } else { deadlines.whole };
        let late = if streams { FaultKind::FirstEventTimeout } else { FaultKind::WholeTimeout };
        let until = (self.clock.now() + limit).min(self.call.deadline);
        let mut timer = std::pin::pin!(self.clock.sleep_until(until));

        let (head, mut body) = self.accepted(lease, timer.as_mut(), late, until).await?;
        let mut decoder = provider(lease)?.decoder(self.request, &head, self.bounds)?;
        if streams {
            self.held_since.set(Some(self.clock.now()));
        }
        let clock = Silence { timer, late, idle: deadlines.idle };
        let frames = self.commit(clock, &mut body, decoder.as_mut()).await?;
        let complete = matches!(frames.last(), Some(Frame { mark: Mark::Stop, .. }));
        // A stream's connection is kept until its last chunk was read; a whole answer was read to its end.
        let rest = (streams || !complete).then_some((body, decoder));
        Ok(Answered { head, frames, rest, committed_at: self.clock.now() })
    }

    /// Sends until upstream's answer is 2xx: again only where it refused a credential that a refresh may have made good.
    async fn accepted(
        &self,
        lease: &Lease,
        mut timer: Pin<&mut Sleep>,
        late: FaultKind,
        until: Moment,
    ) -> Result<(WireHead, T::Body), Fault> {
        let holder = &lease.candidate().seat.credential;
        let mut refused = false;
        loop {
            let held = holder.obtain(until).await?;
            let (mut head, mut body) = {
                let opened = std::pin::pin!(self.open(lease, &held));
                within(timer.as_mut(), late, opened).await?
            };
            match head.status {
                // No content, or only a part of it: whatever follows such a head is no answer to pass on.
                204..=206 => {
                    let detail =
                        format!("the answer's status is {}, which has no whole content", head.status);
                    return Err(Fault::new(FaultKind::Malformed, detail));
                }
                200..300 => return Ok((head, body)),
                _ => {}
            }
            let answer = self.error_body(lease, &mut body, until).await;
            let answer = plain(&mut head, answer);
            let fault = provider(lease)?.fault(&head, &answer, self.clock.wall());
            if refused || fault.kind != FaultKind::KeyRefused || !holder.refuse(&held) {
                return Err(fault);
            }
            refused = true;
            tracing::debug!(key = %lease.candidate().seat.id.name, "the credential was refused; trying a fresh one");
        }
    }

    fn encode(&self, lease: &Lease, held: &Held) -> Result<WireRequest, Fault> {
        let candidate = lease.candidate();
        let upstream = &candidate.upstream.settings;
        // What goes with the credential, but for what is configured.
        let with_lines: Vec<(String, Secret)>;
        let extra_headers = if held.lines.is_empty() {
            &upstream.headers
        } else {
            let own = |(name, _): &&(String, Secret)| upstream.headers.iter().all(|(other, _)| other != name);
            with_lines = upstream.headers.iter().chain(held.lines.iter().filter(own)).cloned().collect();
            &with_lines
        };
        let wire = provider(lease)?.encode(&Encode {
            request: self.request,
            model: &candidate.upstream_model,
            credential: &held.credential,
            authority: &candidate.upstream.authority,
            base_path: &upstream.base_url.path,
            extra_headers,
            wall: self.clock.wall(),
        })?;
        // Only now is the exact length known: a dialect adds to the body.
        let limit = lease.plan().limits.get(candidate.limits).and_then(Limits::max_body_bytes);
        match limit.filter(|limit| wire.body_len() > *limit) {
            Some(limit) => Err(Fault::new(FaultKind::Oversized, Obstacle::Size(limit).message())),
            None => Ok(wire),
        }
    }

    async fn open(&self, lease: &Lease, held: &Held) -> Result<(WireHead, T::Body), Fault> {
        let backend = &lease.candidate().upstream.settings;
        let request = self.encode(lease, held)?;
        if self.sent_at.get().is_none() {
            self.sent_at.set(Some(self.clock.now()));
        }
        match self.transport.send(backend, request, false).await {
            Err(fault) if fault.kind == FaultKind::StaleConnection => {
                tracing::debug!(backend = %backend.name, "an idle connection was closed; trying a fresh one");
                self.transport.send(backend, self.encode(lease, held)?, true).await
            }
            other => other,
        }
    }

    /// Reads until content shows, or until the end of a whole answer.
    async fn commit(
        &self,
        mut clock: Silence<'_>,
        body: &mut T::Body,
        decoder: &mut dyn Decoder,
    ) -> Result<Vec<Frame>, Fault> {
        let mut frames = Vec::new();
        loop {
            let ended = match next_within(clock.timer.as_mut(), clock.late, body).await? {
                Some(bytes) => {
                    decoder.feed(bytes, &mut frames)?;
                    false
                }
                None => {
                    decoder.end(&mut frames)?;
                    true
                }
            };
            if let Some(fault) = reported(&mut frames) {
                return Err(fault);
            }
            if frames.iter().any(|frame| matches!(frame.mark, Mark::Content | Mark::Stop)) {
                return Ok(frames);
            }
            if ended {
                return Err(Fault::new(FaultKind::Truncated, "the answer ended before its content"));
            }
            if clock.late == FaultKind::FirstEventTimeout && !frames.is_empty() {
                clock.late = FaultKind::IdleTimeout;
            }
            if clock.late == FaultKind::IdleTimeout {
                let until = (self.clock.now() + clock.idle).min(self.call.deadline);
                clock.timer.as_mut().reset(self.clock.instant(until));
            }
        }
    }

    /// The body of an error answer: bounded in bytes and in time, for another key waits to be asked. What is cut short says
    /// nothing for sure unless it is JSON to its end; without it the head is judged alone.
    async fn error_body(&self, lease: &Lease, body: &mut T::Body, until: Moment) -> Bytes {
        let span = lease.candidate().upstream.settings.deadlines.error_body;
        let mut timer = std::pin::pin!(self.clock.sleep_until((self.clock.now() + span).min(until)));
        let mut read = BytesMut::new();
        let whole = loop {
            match next_within(timer.as_mut(), FaultKind::Truncated, body).await {
                Ok(Some(bytes)) if read.len() + bytes.len() <= ERROR_BODY_BYTES => {
                    read.extend_from_slice(&bytes);
                }
                Ok(Some(_)) | Err(_) => break serde_json::from_slice::<IgnoredAny>(&read).is_ok(),
                Ok(None) => break true,
            }
        };
        if whole { read.freeze() } else { Bytes::new() }
    }
}

/// The body of an error answer without the compression that some upstreams use unasked; what cannot be decoded is left out.
fn plain(head: &mut WireHead, body: Bytes) -> Bytes {
    let lines = head.headers.iter().filter(|(name, _)| *name == "content-encoding");
    let body = match decode::coding(lines.map(|(_, line)| &**line)) {
        Ok(None) => body,
        Ok(Some(coding)) => decode::decode(coding, &body, ERROR_BODY_BYTES, |_| true).unwrap_or_default(),
        Err(_) => Bytes::new(),
    };
    head.headers.retain(|name| name != "content-encoding");
    body
}

/// The clock of an answer that has not committed: for the first event, then for the silence between two reads; for a whole
/// answer one for all of it.
struct Silence<'a> {
    timer: Pin<&'a mut Sleep>,
    /// What it means when the timer fires.
    late: FaultKind,
    idle: Duration,
}

/// Takes a failure that upstream reported out of `frames`. Content that came in the same read has not been shown to anyone.
fn reported(frames: &mut Vec<Frame>) -> Option<Fault> {
    match frames.pop() {
        Some(Frame { mark: Mark::Error(fault), .. }) => Some(*fault),
        Some(frame) => {
            frames.push(frame);
            None
        }
        None => None,
    }
}

/// The next bytes, unless the timer fires first; `None` at the end.
async fn next_within<B: Body>(
    timer: Pin<&mut Sleep>,
    late: FaultKind,
    body: &mut B,
) -> Result<Option<Bytes>, Fault> {
    let next = std::pin::pin!(poll_fn(|cx| body.poll_bytes(cx).map(Option::transpose)));
    within(timer, late, next).await
}

/// Runs `work` until the timer fires. It takes `work` pinned, for a future that moves in lies there twice.
async fn within<R>(
    mut timer: Pin<&mut Sleep>,
    late: FaultKind,
    mut work: Pin<&mut impl Future<Output = Result<R, Fault>>>,
) -> Result<R, Fault> {
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result),
        Poll::Pending => {
            let over = || Err(Fault::new(late, "the time for this step is over"));
            timer.as_mut().poll(cx).map(|()| over())
        }
    })
    .await
}

fn provider(lease: &Lease) -> Result<&dyn headgate_providers::Provider, Fault> {
    let upstream = &lease.candidate().upstream;
    upstream.provider.as_deref().ok_or_else(|| {
        Fault::new(
            FaultKind::Inexpressible,
            format!("backend {} speaks no known dialect", upstream.settings.name),
        )
    })
}
