//! Callers: each asks once, reads at its own pace, and says what it saw.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use headgate::call::{self, Fallback, RequestId};
use headgate::failure::Failure;
use headgate::relay::{Ended, Relay};
use headgate::reply::ReplyHead;
use headgate::settle::Record;
use headgate_providers::{Headers, MessagesRequest, Operation, scan};

use super::layout::MODELS;
use super::script::Ill;
use super::world::{Call, Poison, Script, Shared, Stage, World};

/// What a caller wants.
#[derive(Clone, Debug)]
pub struct Wish {
    pub model: &'static str,
    pub stream: bool,
    pub patience: Duration,
    pub poison: Option<Poison>,
    pub first_tier_only: bool,
    /// Milliseconds it takes over every piece.
    pub dawdles: u64,
    pub strict: bool,
}

impl World {
    /// A wish like that of any caller.
    pub fn wish(&mut self) -> Wish {
        let dice = &mut self.dice;
        let poison = match dice.below(40) {
            0 | 1 => Some(Poison::Bad),
            2 => Some(Poison::Forbidden),
            _ => None,
        };
        Wish {
            model: dice.pick(&MODELS).0,
            stream: dice.percent(65),
            patience: *dice.pick(&[
                Duration::ZERO,
                Duration::from_secs(1),
                Duration::from_secs(6),
                Duration::from_secs(15),
            ]),
            poison,
            first_tier_only: dice.percent(5),
            dawdles: if dice.percent(10) { 1 + dice.number() % 2_000 } else { 0 },
            strict: false,
        }
    }
}

/// Enters a call into the world and returns it as a future.
pub fn call(shared: &Shared, wish: &Wish) -> (usize, impl Future<Output = ()> + use<>) {
    let mut world = shared.borrow_mut();
    let id = world.calls.len();
    let (gateway, started) = (world.gateway.clone(), world.now());
    let plan = gateway.pool.plan(wish.model).expect("every model has a route");
    let text = format!(
        r#"{{"model":"{}","stream":{},"max_tokens":9,"metadata":{{"user_id":"{id}"}},"messages":[]}}"#,
        wish.model, wish.stream
    );
    let body = Bytes::from(text);
    let outline = scan(&body, 64).expect("a valid body");
    let request = MessagesRequest {
        operation: Operation::Messages,
        body,
        query: None,
        headers: Headers::default(),
        outline,
    };
    let own = (wish.patience + Duration::from_secs(2)).as_secs_f64().to_string();
    let patience_until = started + call::patience(world.base.relay.max_wait, Some(&own));
    let facts = call::Call {
        id: RequestId::new(),
        tenant: None,
        request,
        started,
        patience_until,
        deadline: started + world.base.deadlines.total,
        fallback: if wish.first_tier_only { Fallback::FirstTier } else { Fallback::Any },
        used: std::sync::OnceLock::new(),
    };
    let entry = Call {
        request: facts.id.as_str().to_owned(),
        stream: wish.stream,
        epoch: world.epoch,
        plan: plan.clone(),
        first_tier_only: wish.first_tier_only,
        layout: world.layout.clone(),
        patience_until,
        deadline: facts.deadline,
        poison: wish.poison,
        lazy: wish.dawdles > 0,
        strict: wish.strict,
        stage: Stage::New,
        attempts: Vec::new(),
        key_failures: 0,
        other_failures: 0,
        refusals: 0,
        last_ill: None,
        deferred: Vec::new(),
        received: Vec::new(),
        expected: None,
        settled: false,
    };
    world.calls.push(entry);
    world.note(|| format!("call {id}: {wish:?}"));
    let record = Record::open(gateway.clone(), facts.id.clone(), "messages", started);
    let relay = Relay {
        gateway,
        transport: Script(shared.clone()),
        call: Rc::new(facts),
        plan,
        progress: Rc::default(),
    };
    (id, run(shared.clone(), id, relay, record, wish.dawdles))
}

async fn run(shared: Shared, id: usize, relay: Relay<Script>, record: Record, dawdles: u64) {
    shared.borrow_mut().begins(id);
    match relay.run(record).await {
        Err(Ended { failure, mut record }) => {
            record.failed(&failure);
            // Judged while the record is open: what it holds is given back by then.
            shared.borrow_mut().refused(id, &failure);
            drop(record);
        }
        Ok(mut reply) => {
            shared.borrow_mut().committed(id, reply.head());
            while let Some(bytes) = poll_fn(|cx| reply.poll_bytes(cx)).await {
                shared.borrow_mut().received(id, &bytes);
                if dawdles > 0 {
                    tokio::time::sleep(Duration::from_millis(dawdles)).await;
                }
            }
            shared.borrow_mut().finished(id);
            drop(reply);
        }
    }
}

impl World {
    fn begins(&mut self, id: usize) {
        let now = self.now();
        self.starts.push_back(now);
        self.calls[id].stage = Stage::Relaying;
    }

    fn refused(&mut self, id: usize, failure: &Failure) {
        self.note(|| format!("call {id} fails with {}: {}", failure.status(), failure.message));
        self.learn(false);
        self.judge_failure(id, failure);
        let call = &mut self.calls[id];
        call.stage = Stage::Over;
        call.expected = Some(("failed", failure.status()));
    }

    fn committed(&mut self, id: usize, head: &ReplyHead) {
        self.note(|| format!("call {id} is answered"));
        let call = &mut self.calls[id];
        assert_eq!((head.status, head.length.is_none()), (200, call.stream), "the head of call {id}");
        let last = call.attempts.last().map(|&last| &self.attempts[last]);
        assert!(last.is_some_and(|last| last.committed), "call {id} has an answer that showed no content");
        call.stage = Stage::Replying;
    }

    /// Bytes reach the caller: those of one upstream, in order, whole events.
    fn received(&mut self, id: usize, bytes: &[u8]) {
        let call = &mut self.calls[id];
        call.received.extend_from_slice(bytes);
        let attempt = &self.attempts[*call.attempts.last().expect("answered by somebody")];
        let theirs = attempt.over_at.min(attempt.taken.len());
        if !attempt.taken[..theirs].starts_with(&call.received) {
            let (passed, added) = apart(&call.received, &attempt.taken[..theirs]);
            assert!(
                is_error_event(added),
                "call {id} got {:?} after {passed} bytes",
                String::from_utf8_lossy(added)
            );
        }
    }

    fn finished(&mut self, id: usize) {
        let outcome = self.outcome(id);
        let outcome = outcome.unwrap_or_else(|| panic!("call {id} ended cleanly without its end"));
        self.note(|| format!("call {id} is over: {outcome}"));
        let call = &self.calls[id];
        assert!(!call.strict || outcome == "ok", "call {id} was cut although nothing is wrong any more");
        if outcome == "cut" {
            let attempt = &self.attempts[*call.attempts.last().expect("answered by somebody")];
            let theirs = &attempt.taken[..attempt.over_at.min(attempt.taken.len())];
            let (passed, _) = apart(&call.received, theirs);
            let whole = theirs.windows(2).rposition(|pair| pair == b"\n\n").map_or(0, |at| at + 2);
            assert!(passed == whole || passed == theirs.len(), "call {id}: events were lost before the cut");
            let late = attempt.last_byte + self.base.deadlines.idle;
            let by_clock = self.now() >= late.min(call.deadline);
            assert!(attempt.late_ill.is_some() || by_clock, "call {id} was cut for nothing");
        }
        let call = &mut self.calls[id];
        call.stage = Stage::Over;
        call.expected = Some((outcome, 200));
    }

    /// What a caller has seen so far, if that is an end.
    fn outcome(&self, id: usize) -> Option<&'static str> {
        let call = &self.calls[id];
        let attempt = &self.attempts[*call.attempts.last()?];
        if attempt.over_at <= attempt.taken.len() && call.received == attempt.taken[..attempt.over_at] {
            return Some(if attempt.late_ill.is_some_and(|ill| ill != Ill::Late) { "cut" } else { "ok" });
        }
        let (_, added) = apart(&call.received, &attempt.taken);
        is_error_event(added).then_some("cut")
    }

    /// The caller leaves, whatever it has seen.
    pub fn leaves(&mut self, id: usize) {
        let seen = if self.calls[id].stage == Stage::Replying { self.outcome(id) } else { None };
        let call = &mut self.calls[id];
        let status = if call.stage == Stage::Replying { 200 } else { 0 };
        call.expected = Some((seen.unwrap_or("client_closed"), status));
        call.stage = Stage::Over;
        self.note(|| format!("call {id} leaves"));
    }
}

/// How many bytes two texts share at their start, and what `received` has beyond.
fn apart<'a>(received: &'a [u8], sent: &[u8]) -> (usize, &'a [u8]) {
    let shared = received.iter().zip(sent).take_while(|(a, b)| a == b).count();
    // The shared start may run into the next event's first letters: back to its boundary.
    let passed = received[..shared].windows(2).rposition(|pair| pair == b"\n\n").map_or(0, |at| at + 2);
    let passed = if shared == received.len() { shared } else { passed };
    (passed, &received[passed..])
}

fn is_error_event(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let data = text.strip_prefix("event: error\ndata: ").and_then(|rest| rest.strip_suffix("\n\n"));
    data.is_some_and(|data| !data.contains('\n') && data.contains(r#""type":"error""#))
}
