//! `Reply`: a committed answer on its way to the caller.
//!
//! The caller's poll pulls the upstream: no task, no channel. Frames pass as they are; usage is metered on the way; silence
//! and cuts end in one `error` event, never in a clean end. Dropping the reply closes the upstream and settles the call.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use headgate_providers::{Blame, Decoder, Fault, FaultKind, Frame, Headers, Mark, Operation, anthropic};
use tokio::time::Sleep;

use crate::attempt::Answered;
use crate::call::Call;
use crate::clock::Moment;
use crate::drain::{GOODBYE, Goodbye};
use crate::gateway::Gateway;
use crate::pool::Lease;
use crate::settle::{Outcome, Record};
use crate::transport::Body;

/// Status and headers for the caller.
#[derive(Clone, Debug)]
pub struct ReplyHead {
    /// HTTP status.
    pub status: u16,
    /// Headers; the edge adds those of the connection.
    pub headers: Headers,
    /// Bytes of a whole answer; `None` for a stream.
    pub length: Option<u64>,
}

/// Where the answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Upstream is read on.
    Running,
    /// The answer is complete; upstream's end is awaited until this moment, so that its connection can be used again.
    Lingering(Moment),
    /// Nothing further comes.
    Done,
}

/// A committed answer.
pub struct Reply<B> {
    head: ReplyHead,
    ready: VecDeque<Bytes>,
    rest: Option<(B, Box<dyn Decoder>)>,
    phase: Phase,
    idle: Duration,
    last_byte: Moment,
    committed_at: Moment,
    timer: Option<Pin<Box<Sleep>>>,
    goodbye: Goodbye,
    scratch: Vec<Frame>,
    call: Rc<Call>,
    gateway: Arc<Gateway>,
    /// Given back when upstream has nothing more to send. Declared, and so dropped, before the record.
    lease: Option<Lease>,
    /// What the record will say once the caller has taken every byte.
    outcome: Outcome,
    /// The caller has left; what is read on is for the record alone.
    abandoned: bool,
    record: Record,
}

impl<B: Body> Reply<B> {
    /// Takes over a committed answer with the lease it came by and the record of its call.
    #[must_use]
    pub fn new(
        answered: Answered<B>,
        lease: Lease,
        call: Rc<Call>,
        gateway: Arc<Gateway>,
        record: Record,
    ) -> Self {
        let Answered { head, mut frames, rest, committed_at } = answered;
        let streams = rest.is_some();
        let length = (!streams).then(|| frames.iter().map(|frame| frame.bytes.len() as u64).sum());
        let mut reply = Self {
            head: ReplyHead { status: head.status, headers: Headers::default(), length },
            ready: VecDeque::with_capacity(frames.len()),
            rest,
            phase: Phase::Running,
            idle: lease.candidate().upstream.settings.deadlines.idle,
            last_byte: committed_at,
            committed_at,
            timer: None,
            goodbye: Goodbye::default(),
            scratch: Vec::new(),
            call,
            gateway,
            lease: Some(lease),
            outcome: Outcome::ClientClosed,
            abandoned: false,
            record,
        };
        reply.record.status = head.status;
        reply.record.answered = true;
        if streams || reply.call.request.operation == Operation::Messages {
            reply.record.first_content = Some(committed_at);
        }
        reply.head.headers = reply.headers(&head.headers, streams);
        reply.absorb(&mut frames);
        if !streams {
            reply.finish(Outcome::Ok);
        }
        reply
    }

    /// Status and headers for the caller.
    #[must_use]
    pub fn head(&self) -> &ReplyHead {
        &self.head
    }

    /// Status and headers for the caller, taken out: the edge makes its own form of them.
    pub fn take_head(&mut self) -> ReplyHead {
        ReplyHead { headers: std::mem::take(&mut self.head.headers), ..self.head }
    }

    /// Whether the answer is unfinished at a backend that is to be read on after the caller left, to learn the usage.
    #[must_use]
    pub fn reads_on(&self) -> bool {
        let wanted = |lease: &Lease| lease.candidate().upstream.settings.drain_on_disconnect;
        self.phase == Phase::Running && self.lease.as_ref().is_some_and(wanted)
    }

    /// All shared state.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The caller has left: however the answer ends, the record says so.
    pub fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// The next bytes for the caller; `None` at the end.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                if self.record.after.is_none() {
                    self.record.after = Some(self.gateway.clock.now().since(self.committed_at));
                }
                if self.ready.is_empty() && !self.abandoned {
                    self.record.outcome = self.outcome;
                }
                return Poll::Ready(Some(bytes));
            }
            match self.phase {
                Phase::Done => return Poll::Ready(None),
                Phase::Lingering(until) => {
                    if self.poll_upstream_end(cx, until).is_pending() {
                        return Poll::Pending;
                    }
                    self.close();
                }
                Phase::Running => {
                    if self.poll_upstream(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((body, decoder)) = &mut self.rest else {
            self.close();
            return Poll::Ready(());
        };
        let mut frames = std::mem::take(&mut self.scratch);
        let read = match body.poll_bytes(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.last_byte = self.gateway.clock.now();
                decoder.feed(bytes, &mut frames)
            }
            Poll::Ready(Some(Err(fault))) => Err(fault),
            Poll::Ready(None) => decoder.end(&mut frames).and_then(|()| match frames.last() {
                Some(Frame { mark: Mark::Stop | Mark::Error(_), .. }) => Ok(()),
                Some(_) | None => {
                    Err(Fault::new(FaultKind::Truncated, "the stream ended before message_stop"))
                }
            }),
            Poll::Pending => {
                self.scratch = frames;
                if self.goodbye.poll(&self.gateway.drain, cx).is_ready() {
                    self.say_goodbye();
                    return Poll::Ready(());
                }
                return self.poll_silence(cx);
            }
        };
        self.absorb(&mut frames);
        self.scratch = frames;
        if let Err(fault) = read {
            self.cut(&fault);
        }
        Poll::Ready(())
    }

    /// The process ends before the stream does: nobody is blamed, and the caller is told.
    fn say_goodbye(&mut self) {
        self.ready.push_back(error_event("api_error", GOODBYE, self.call.id.as_str()));
        self.outcome = Outcome::Cut;
        self.close();
    }

    /// Upstream is silent: has it been for too long, or has the call lived too long?
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        loop {
            let until = (self.last_byte + idle).min(self.call.deadline);
            std::task::ready!(self.poll_timer(cx, until));
            // The timer is set once and looked at when it fires, so that a chunk costs no re-arming.
            let now = self.gateway.clock.now();
            if now >= until {
                self.cut(&if now >= self.call.deadline {
                    Fault::new(FaultKind::CallDeadline, "the call has lived for as long as any may")
                } else {
                    Fault::new(FaultKind::IdleTimeout, "the upstream fell silent")
                });
                return Poll::Ready(());
            }
        }
    }

    fn poll_upstream_end(&mut self, cx: &mut Context<'_>, until: Moment) -> Poll<()> {
        if let Some((body, _)) = &mut self.rest {
            loop {
                match body.poll_bytes(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
        }
        self.poll_timer(cx, until)
    }

    /// Ready when the timer fires; it may fire before `until` when it was set for an earlier moment.
    fn poll_timer(&mut self, cx: &mut Context<'_>, until: Moment) -> Poll<()> {
        let clock = self.gateway.clock;
        let timer = self.timer.get_or_insert_with(|| Box::pin(clock.sleep_until(until)));
        if timer.is_elapsed() || timer.deadline() > clock.instant(until) {
            timer.as_mut().reset(clock.instant(until));
        }
        timer.as_mut().poll(cx)
    }

    /// Takes decoded frames in.
    fn absorb(&mut self, frames: &mut Vec<Frame>) {
        for frame in frames.drain(..) {
            if let Some(usage) = frame.usage {
                self.record.usage = usage;
            }
            match frame.mark {
                Mark::Prelude | Mark::Content => self.ready.push_back(frame.bytes),
                Mark::Stop => {
                    self.ready.push_back(frame.bytes);
                    self.finish(Outcome::Ok);
                }
                Mark::Error(fault) => {
                    self.report(&fault, frame.bytes);
                }
            }
        }
    }

    /// Upstream itself reported an error after content: its event passes unless it speaks of a pool key, or says nothing that a
    /// client could read as an error.
    fn report(&mut self, fault: &Fault, event: Bytes) {
        let is_told = fault.answer.as_ref().is_some_and(|answer| answer.is_envelope);
        let event = match fault.blame() {
            _ if !is_told => self.error_event(fault),
            Blame::Key | Blame::Group | Blame::GroupClass => self.error_event(fault),
            Blame::Caller
            | Blame::Model
            | Blame::Capacity
            | Blame::BackendModel
            | Blame::Backend
            | Blame::Nobody => event,
        };
        self.end_with(fault, event);
    }

    /// Upstream broke off after content: one `error` event, never a clean end.
    fn cut(&mut self, fault: &Fault) {
        let event = self.error_event(fault);
        self.end_with(fault, event);
    }

    fn end_with(&mut self, fault: &Fault, event: Bytes) {
        if let Some(lease) = &mut self.lease {
            lease.blame(fault, self.gateway.clock.now());
        }
        self.gateway.metrics.attempt(self.record.backend(), fault.kind.name());
        self.record.fault(fault);
        self.ready.push_back(event);
        self.outcome = Outcome::Cut;
        self.close();
    }

    /// Nothing more is wanted from upstream: an unfinished connection is closed, the key is given back.
    fn close(&mut self) {
        self.phase = Phase::Done;
        self.rest = None;
        self.lease = None;
    }

    fn error_event(&self, fault: &Fault) -> Bytes {
        let (error_type, message) = match fault.kind {
            FaultKind::IdleTimeout => {
                ("timeout_error", "The upstream fell silent before its answer was complete.")
            }
            FaultKind::Overloaded => ("overloaded_error", "Overloaded"),
            FaultKind::FirstEventTimeout | FaultKind::WholeTimeout | FaultKind::CallDeadline => {
                ("timeout_error", "The upstream did not complete its answer in time.")
            }
            FaultKind::Request
            | FaultKind::NotFound
            | FaultKind::Inexpressible
            | FaultKind::Oversized
            | FaultKind::SignatureRefused
            | FaultKind::KeyRefused
            | FaultKind::KeyForbidden
            | FaultKind::Billing
            | FaultKind::Quota
            | FaultKind::Hold
            | FaultKind::RateLimited
            | FaultKind::ModelMissing
            | FaultKind::NotReady
            | FaultKind::Server
            | FaultKind::Connect
            | FaultKind::Tls
            | FaultKind::Reset
            | FaultKind::Truncated
            | FaultKind::Malformed
            | FaultKind::StaleConnection
            | FaultKind::UploadRefused => {
                ("api_error", "The upstream failed before its answer was complete.")
            }
        };
        error_event(error_type, message, self.call.id.as_str())
    }

    fn finish(&mut self, outcome: Outcome) {
        self.outcome = outcome;
        if self.rest.is_some() {
            let linger = self.gateway.settings().relay.linger;
            self.phase = Phase::Lingering(self.gateway.clock.now() + linger);
        } else {
            self.close();
        }
    }

    fn headers(&self, upstream: &Headers, streams: bool) -> Headers {
        let settings = self.gateway.settings();
        let relay = &settings.relay;
        let expose = relay.expose_upstream_limits;
        let mut headers = upstream.kept(6, |name| headgate_providers::reply_header_passes(name, expose));
        if !headers.has("request-id") {
            headers.push("request-id", Bytes::copy_from_slice(self.record.id.as_str().as_bytes()));
        }
        // Some upstreams frame their events otherwise; what the caller gets are always server-sent ones.
        let of_events = |kind: &str| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream");
        if streams && !headers.get("content-type").is_some_and(of_events) {
            headers.retain(|name| name != "content-type");
            headers.push("content-type", "text/event-stream; charset=utf-8");
        }
        if streams {
            for (name, value) in [("cache-control", "no-cache"), ("x-accel-buffering", "no")] {
                if !headers.has(name) {
                    headers.push(name, value);
                }
            }
        }
        headers.push("x-headgate-backend", self.record.backend().to_owned());
        headers.push("x-headgate-attempts", digits(u128::from(self.record.attempts)));
        headers.push("x-headgate-queue-ms", digits(self.record.queued.as_millis()));
        if let Some(dropped) = self.record.dropped {
            headers.push("x-headgate-dropped", dropped);
        }
        if relay.expose_key_names {
            headers.push("x-headgate-key", self.record.key().to_owned());
        }
        headers
    }
}

/// A number as text; of one digit, as most are, without an allocation.
fn digits(number: u128) -> Bytes {
    const SINGLE: &[u8; 10] = b"0123456789";
    let single = usize::try_from(number).ok().and_then(|number| SINGLE.get(number..=number));
    single.map_or_else(|| Bytes::from(number.to_string()), Bytes::from_static)
}

/// One `error` event as the Messages API streams it.
#[must_use]
pub fn error_event(error_type: &str, message: &str, request_id: &str) -> Bytes {
    let envelope = anthropic::envelope(error_type, message, Some(request_id));
    let mut event = Vec::with_capacity(envelope.len() + 22);
    event.extend_from_slice(b"event: error\ndata: ");
    event.extend_from_slice(&envelope);
    event.extend_from_slice(b"\n\n");
    event.into()
}
