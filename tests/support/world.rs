//! A gateway over a scripted transport, and callers for it.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use headgate::call::{Call, Fallback, RequestId, patience};
use headgate::chance::Chance;
use headgate::clock::{Clock, Moment};
use headgate::config::checked::Settings;
use headgate::config::{Environment, load};
use headgate::failure::{Failure, FailureKind};
use headgate::gateway::Gateway;
use headgate::pool::park::Gate;
use headgate::pool::seat::Seat;
use headgate::pool::table::Scope;
use headgate::relay::Relay;
use headgate::reply::Reply;
use headgate::settle::Record;
use headgate_providers::{Headers, MessagesRequest, Operation, anthropic, scan};
use serde_json::Value;

use super::wire::{Playing, Wire};

/// 2026-03-17 12:00:00 UTC.
const WALL: Duration = Duration::from_secs(1_773_748_800);
const SEED: u64 = 7;

/// The settings that this YAML over the defaults makes.
pub fn settings(yaml: &str) -> Settings {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    load(&[file.path().to_owned()], &Environment::default()).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

/// One backend of this name with these keys, each a group of its own. A key's secret is its name.
pub fn backend(name: &str, keys: &[&str]) -> String {
    backends(&[(name, keys)])
}

/// Backends with their keys.
pub fn backends(list: &[(&str, &[&str])]) -> String {
    let mut yaml = "backends:\n".to_owned();
    for (name, keys) in list {
        write!(
            yaml,
            "  - name: {name}\n    provider: anthropic\n    base_url: 'http://127.0.0.1:9'\n    keys:\n"
        )
        .unwrap();
        for key in *keys {
            let (key, more) = key.split_once(' ').unwrap_or((key, ""));
            writeln!(yaml, "      - {{ name: {key}, secret: 'value:{key}', {more} }}").unwrap();
        }
    }
    yaml
}

/// One backend `a` whose keys share groups as told.
pub fn key_groups(groups: &[(&str, &[&str])]) -> String {
    let mut yaml =
        "backends:\n  - name: a\n    provider: anthropic\n    base_url: 'http://127.0.0.1:9'\n".to_owned();
    let names: Vec<String> = groups.iter().map(|(group, _)| format!("{{ name: {group} }}")).collect();
    writeln!(yaml, "    limit_groups: [{}]\n    keys:", names.join(", ")).unwrap();
    for (group, keys) in groups {
        for key in *keys {
            writeln!(yaml, "      - {{ name: {key}, secret: 'value:{key}', limit_group: {group} }}").unwrap();
        }
    }
    yaml
}

/// A gateway over a scripted transport.
pub struct World {
    pub gateway: Arc<Gateway>,
    pub wire: Wire,
}

/// What a caller asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    pub model: String,
    pub stream: bool,
    pub timeout: Option<String>,
    pub fallback: Fallback,
    pub padding: usize,
    /// Further members of the body, each followed by a comma.
    pub members: String,
    pub betas: String,
    /// The messages, in place of the usual one.
    pub messages: Option<String>,
    pub operation: Operation,
}

impl Ask {
    pub fn whole() -> Self {
        let model = "claude-sonnet-4-5".to_owned();
        Self {
            model,
            stream: false,
            timeout: None,
            fallback: Fallback::Any,
            padding: 0,
            members: String::new(),
            betas: String::new(),
            messages: None,
            operation: Operation::Messages,
        }
    }

    pub fn stream() -> Self {
        Self { stream: true, ..Self::whole() }
    }

    pub fn of(model: &str) -> Self {
        Self { model: model.to_owned(), ..Self::whole() }
    }

    /// With these members of the body, each followed by a comma.
    pub fn with(self, members: &str) -> Self {
        Self { members: members.to_owned(), ..self }
    }

    /// With `x-stainless-timeout`.
    pub fn timeout(self, seconds: &str) -> Self {
        Self { timeout: Some(seconds.to_owned()), ..self }
    }

    /// Without patience.
    pub fn now(self) -> Self {
        self.timeout("0")
    }

    /// The request's bytes.
    pub fn body(&self) -> Bytes {
        let Self { model, stream, padding, members, .. } = self;
        let text = "x".repeat(*padding);
        let stream = if *stream { r#""stream":true,"# } else { "" };
        let usual = || format!(r#"[{{"role":"user","content":"hi{text}"}}]"#);
        let messages = self.messages.clone().unwrap_or_else(usual);
        format!(r#"{{"model":"{model}",{stream}{members}"max_tokens":64,"messages":{messages}}}"#).into()
    }
}

/// What a caller was told.
#[derive(Clone, Debug)]
pub struct Told {
    pub status: u16,
    pub headers: Headers,
    pub body: Bytes,
    /// Where the call failed before any content.
    pub failure: Option<Failure>,
    /// When the head was there, and when the end.
    pub began: Moment,
    pub ended: Moment,
}

impl Told {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The envelope's type and message, of an answer that failed.
    pub fn error(&self) -> (String, String) {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["type"], "error", "{}", self.text());
        let text = |name: &str| body["error"][name].as_str().unwrap().to_owned();
        (text("type"), text("message"))
    }

    /// `retry-after` before it is rounded, in seconds.
    pub fn retry_after(&self) -> Option<f64> {
        self.failure.as_ref()?.retry_after.map(|span| span.as_secs_f64())
    }

    /// How often an event occurs.
    pub fn events(&self, name: &str) -> usize {
        self.text().matches(&format!("event: {name}\n")).count()
    }
}

/// A call that has committed or failed.
pub enum Answered {
    Reply(Box<Reply<Playing>>),
    Failed(Box<Told>),
}

impl World {
    /// A gateway with this YAML over the defaults.
    pub fn new(yaml: &str) -> Self {
        let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + WALL);
        let gateway = Gateway::new(settings(yaml), clock, Chance::seeded(SEED)).unwrap();
        Self { gateway: Arc::new(gateway), wire: Wire::new(clock) }
    }

    pub fn now(&self) -> Duration {
        self.gateway.clock.now().since(Moment::default())
    }

    /// Waits until `seconds` after the start.
    pub async fn at(&self, seconds: f64) {
        self.gateway.clock.sleep_until(Moment::default() + Duration::from_secs_f64(seconds)).await;
    }

    /// Lets this many seconds pass.
    pub async fn pass(&self, seconds: f64) {
        self.at(self.now().as_secs_f64() + seconds).await;
    }

    /// The loop and the record of one call, as the edge makes them.
    pub fn relay(&self, ask: &Ask) -> (Relay<Wire>, Record) {
        let gateway = self.gateway.clone();
        let settings = gateway.settings();
        let body = ask.body();
        let outline = scan(&body, settings.server.max_nesting).unwrap();
        let id = RequestId::new();
        let started = gateway.clock.now();
        let mut record = Record::open(gateway.clone(), id.clone(), "messages", started);
        record.model.clone_from(&outline.model);
        record.stream = outline.stream;
        let mut headers = Headers::default();
        if !ask.betas.is_empty() {
            headers.push("anthropic-beta", ask.betas.clone());
        }
        let plan = gateway.pool.plan(&outline.model).expect("a route");
        let patience = patience(settings.relay.max_wait, ask.timeout.as_deref());
        let call = Rc::new(Call {
            id,
            tenant: None,
            request: MessagesRequest { operation: ask.operation, body, query: None, headers, outline },
            started,
            patience_until: started + patience,
            deadline: started + settings.deadlines.total,
            fallback: ask.fallback,
            used: OnceLock::new(),
        });
        drop(settings);
        let transport = self.wire.clone();
        (Relay { gateway, transport, call, plan, progress: Rc::default() }, record)
    }

    /// Runs a call until it commits or fails.
    pub async fn begin(&self, ask: &Ask) -> Answered {
        let (relay, record) = self.relay(ask);
        match relay.run(record).await {
            Ok(reply) => Answered::Reply(Box::new(reply)),
            Err(mut ended) => {
                ended.record.failed(&ended.failure);
                drop(ended.record);
                Answered::Failed(Box::new(self.told(ended.failure)))
            }
        }
    }

    /// Runs a call to its very end.
    pub async fn ask(&self, ask: &Ask) -> Told {
        match self.begin(ask).await {
            Answered::Failed(told) => *told,
            Answered::Reply(mut reply) => {
                let began = self.gateway.clock.now();
                let head = reply.head().clone();
                let mut body = Vec::new();
                while let Some(bytes) = poll_fn(|cx| reply.poll_bytes(cx)).await {
                    body.extend_from_slice(&bytes);
                }
                let ended = self.gateway.clock.now();
                let (status, headers) = (head.status, head.headers);
                Told { status, headers, body: body.into(), failure: None, began, ended }
            }
        }
    }

    /// Runs this many calls at the same time.
    pub async fn crowd(&self, callers: usize, ask: &Ask) -> Vec<Told> {
        join_all((0..callers).map(|_| self.ask(ask))).await
    }

    fn told(&self, failure: Failure) -> Told {
        let (headers, body) = if let FailureKind::Passed(answer) = &failure.kind
            && !answer.body.is_empty()
        {
            (answer.headers.clone(), answer.body.clone())
        } else {
            (Headers::default(), anthropic::envelope(failure.error_type(), &failure.message, None))
        };
        let now = self.gateway.clock.now();
        Told { status: failure.status(), headers, body, failure: Some(failure), began: now, ended: now }
    }

    /// A key's seat.
    pub fn seat(&self, key: &str) -> Arc<Seat> {
        let table = self.gateway.pool.table();
        let seat = table.seats().find(|(_, seat)| seat.id.name == key).map(|(_, seat)| seat.clone());
        seat.expect("a key of that name")
    }

    /// Until when a scope of a key is parked, in seconds after the start; `None` where it is open or up for a probe.
    pub fn parked(&self, key: &str, scope: Scope) -> Option<f64> {
        let seat = self.seat(key);
        let class = "claude-sonnet-4";
        let park = match scope {
            Scope::Key => seat.health.park.clone(),
            Scope::KeyClass => seat.health.class(class),
            Scope::Group => seat.group.park.clone(),
            Scope::GroupClass => seat.group.class(class),
        };
        match park.gate(self.gateway.clock.now()) {
            Gate::Until(until) => Some(until.since(Moment::default()).as_secs_f64()),
            Gate::Open | Gate::Probe | Gate::Probing => None,
        }
    }

    /// Which of these keys are parked as a key.
    pub fn refused<'a>(&self, keys: &[&'a str]) -> Vec<&'a str> {
        keys.iter().copied().filter(|key| self.parked(key, Scope::Key).is_some()).collect()
    }

    /// Asserts that nothing is under way: no lease, no waiter, no open exchange.
    pub fn assert_idle(&self) {
        for (_, seat) in self.gateway.pool.table().seats() {
            assert_eq!(seat.health.in_flight.load(Relaxed), 0, "in flight with {}", seat.id.name);
        }
        assert_eq!(self.gateway.pool.waiting(), 0, "calls that wait");
        assert_eq!(self.wire.open(), 0, "open exchanges");
    }
}
