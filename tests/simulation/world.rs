//! The world around the core: what upstreams suffer, every attempt and call with what became of it, and the transport that
//! carries requests into it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use headgate::clock::{Clock, Moment};
use headgate::config::checked::{Backend, Settings};
use headgate::gateway::Gateway;
use headgate::pool::Plan;
use headgate::pool::health::Health;
use headgate::transport::{Body, Transport};
use headgate_providers::{Fault, FaultKind, WireHead, WireRequest, scan};
use tokio::time::Sleep;

use super::breakers::Breakers;
use super::dice::Dice;
use super::layout::{Layout, class_of};
use super::oracle::{Oracle, Scopes};
use super::script::{Answer, Asked, End, Fate, Ill, Opening, Place, Trouble, bad_request, fate};

/// A poison that a request carries wherever it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    /// Every upstream answers 400.
    Bad,
    /// Every key is forbidden to serve it.
    Forbidden,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Relaying,
    Replying,
    /// Not begun.
    New,
    /// The caller has seen the end, or has left.
    Over,
}

/// One call.
pub struct Call {
    pub request: String,
    pub stream: bool,
    pub epoch: u32,
    pub plan: Arc<Plan>,
    pub first_tier_only: bool,
    pub layout: Rc<Layout>,
    pub patience_until: Moment,
    pub deadline: Moment,
    pub poison: Option<Poison>,
    /// Reads when it likes: no clock of the gateway binds it.
    pub lazy: bool,
    /// All faults are gone: it must succeed.
    pub strict: bool,
    pub stage: Stage,
    pub attempts: Vec<usize>,
    pub key_failures: u32,
    pub other_failures: u32,
    pub refusals: u32,
    pub last_ill: Option<Ill>,
    /// Attempts whose refusal waits for proof.
    pub deferred: Vec<usize>,
    pub received: Vec<u8>,
    /// What the settlement must say, once the caller knows.
    pub expected: Option<(&'static str, u16)>,
    pub settled: bool,
}

/// One attempt.
pub struct Attempt {
    pub call: usize,
    pub secret: String,
    /// The plan it was taken from: a reload during a wait gives the call a new one.
    pub plan: Arc<Plan>,
    pub scopes: Scopes,
    pub health: Arc<Health>,
    pub generations: [u32; 2],
    pub witness: u64,
    pub dispatched: Moment,
    pub ill: Option<Ill>,
    pub late_ill: Option<Ill>,
    pub content_at: usize,
    pub over_at: usize,
    /// Bytes the gateway has taken.
    pub taken: Vec<u8>,
    pub last_byte: Moment,
    /// It met an idle connection that was closed, and has not been sent again.
    pub stale: bool,
    /// What becomes of it on a fresh connection.
    pub fresh: Option<Opening>,
    /// The transport still holds something of it.
    pub open: bool,
    pub committed: bool,
    /// Its fault has been told.
    pub told: bool,
    /// Until when it must have put its scope to rest, if it did.
    pub rests_until: Option<Moment>,
}

/// Something the gateway learnt within this step.
#[derive(Clone, Debug)]
pub enum News {
    Failed(usize, Ill),
    Committed(usize),
    /// Something that must move neither park nor breaker; what they were just before.
    Innocent(BTreeMap<String, (u8, u64)>),
}

/// All of it.
pub struct World {
    pub clock: Clock,
    pub gateway: Arc<Gateway>,
    pub base: Settings,
    pub layout: Rc<Layout>,
    pub epoch: u32,
    pub dice: Dice,
    pub troubles: BTreeMap<Place, (Trouble, Moment)>,
    /// Single misfortunes, in a hundred attempts.
    pub misfortunes: u32,
    pub calls: Vec<Call>,
    /// Every call before this one is over.
    pub oldest: usize,
    pub attempts: Vec<Attempt>,
    pub oracle: Oracle,
    pub news: Vec<News>,
    /// Attempts the transport lost hold of within this step.
    pub closed: Vec<usize>,
    pub breakers: Breakers,
    /// Every key's state ever used, with what is under way there.
    pub leases: HashMap<usize, (Arc<Health>, u32)>,
    /// Starts of calls, and repeats after faults of backends: for the retry budget.
    pub starts: VecDeque<Moment>,
    pub repeats: VecDeque<Moment>,
    pub steps: u64,
    digest: u64,
    trail: VecDeque<String>,
}

pub type Shared = Rc<RefCell<World>>;

impl World {
    pub fn new(gateway: Arc<Gateway>, base: Settings, layout: Layout, mut dice: Dice) -> Self {
        let oracle = Oracle::new(&layout);
        Self {
            clock: gateway.clock,
            gateway,
            base,
            layout: Rc::new(layout),
            epoch: 0,
            dice: dice.split(),
            troubles: BTreeMap::new(),
            misfortunes: 6,
            calls: Vec::new(),
            oldest: 0,
            attempts: Vec::new(),
            oracle,
            news: Vec::new(),
            closed: Vec::new(),
            breakers: Breakers::default(),
            leases: HashMap::new(),
            starts: VecDeque::new(),
            repeats: VecDeque::new(),
            steps: 0,
            digest: 0xCBF2_9CE4_8422_2325,
            trail: VecDeque::new(),
        }
    }

    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Remembers what happened: the last lines for people, all of them as a digest.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        let line = format!("{:>12} us  {}", self.now().as_micros(), line());
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        if self.trail.len() == 80 {
            self.trail.pop_front();
        }
        self.trail.push_back(line);
    }

    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub fn trail(&self) -> String {
        self.trail.iter().map(|line| format!("  {line}\n")).collect()
    }

    /// The trouble that meets a request, and how long it lasts from here.
    fn trouble(&mut self, secret: &str, model: &str, layout: &Layout) -> Option<(Trouble, Duration)> {
        let (backend, key) = layout.key(secret)?;
        let places = [
            Place::Backend(backend.name.clone()),
            Place::Key(key.name.clone()),
            Place::Group(backend.name.clone(), key.group.clone()),
            Place::Model(backend.name.clone(), model.to_owned()),
        ];
        let now = self.now();
        let found =
            places.iter().find_map(|place| self.troubles.get(place).filter(|(_, until)| *until > now));
        if let Some((trouble, until)) = found {
            return Some((*trouble, until.since(now)));
        }
        if !self.dice.percent(self.misfortunes) {
            return None;
        }
        let misfortunes = [
            Trouble::Resets,
            Trouble::Silent,
            Trouble::Failing,
            Trouble::ErrorsFirst,
            Trouble::CutEarly,
            Trouble::CutLate,
            Trouble::ErrorsLate,
            Trouble::Garbled,
            Trouble::Slow,
            Trouble::Stale,
        ];
        Some((*self.dice.pick(&misfortunes), Duration::ZERO))
    }

    /// A request leaves the gateway. Returns its attempt and what becomes of it.
    fn dispatch(&mut self, backend: &str, request: &WireRequest, fresh: bool) -> (usize, Opening) {
        let secret = request.headers.get("x-api-key").expect("a request presents a key").to_owned();
        let body = request.body.concat();
        let outline = scan(&body, 64).expect("the caller's body");
        let id: usize =
            outline.user_id.as_deref().and_then(|id| id.parse().ok()).expect("the caller's number");
        if fresh {
            return self.again(id, &secret);
        }
        let number = self.attempts.len();
        let call = &mut self.calls[id];
        // Every key is chosen from the newest settings.
        call.layout = self.layout.clone();
        call.plan = self.gateway.pool.plan(&outline.model).expect("every model has a route");
        let (layout, plan) = (call.layout.clone(), call.plan.clone());
        let now = self.now();
        let Some((up, key)) = layout.key(&secret) else { panic!("call {id} used an unknown key {secret}") };
        assert_eq!(up.name, backend, "call {id} took the key of another backend");
        let mut candidates = plan.tiers.iter().flatten();
        let candidate =
            candidates.find(|it| it.seat.id.name == key.name).expect("the key is in the plan").clone();
        let scopes = Scopes::new(backend, key, &outline.model, class_of(&outline.model));
        let trouble = self.trouble(&secret, &outline.model, &layout);
        let asked = Asked {
            model: &outline.model,
            stream: outline.stream,
            attempt: number,
            wall: self.clock.wall(),
            left: trouble.map_or(Duration::ZERO, |(_, left)| left),
        };
        let poison = self.calls[id].poison;
        let Fate { opening, ill, late_ill } = match poison {
            Some(Poison::Bad) => bad_request(&mut self.dice),
            Some(Poison::Forbidden) => fate(Some(Trouble::Forbidden), &asked, &mut self.dice),
            None => fate(trouble.map(|(trouble, _)| trouble), &asked, &mut self.dice),
        };
        let (content_at, over_at) = match &opening {
            Opening::Answers(_, answer) => (answer.content_at, answer.over_at),
            Opening::Fails(..) | Opening::Silent => (usize::MAX, usize::MAX),
        };
        self.note(|| {
            format!(
                "call {id} sends attempt {number} with {secret} for {}: {ill:?}, {late_ill:?}",
                asked.model
            )
        });
        let generations = candidate.breakers.each_ref().map(|breaker| breaker.generation());
        let stale = matches!(opening, Opening::Fails(_, FaultKind::StaleConnection))
            || self.misfortunes > 0 && self.dice.percent(3);
        self.attempts.push(Attempt {
            call: id,
            secret,
            plan,
            scopes,
            health: candidate.seat.health.clone(),
            generations,
            witness: candidate.seat.id.generation,
            dispatched: now,
            ill,
            late_ill,
            content_at,
            over_at,
            taken: Vec::new(),
            last_byte: now,
            stale,
            fresh: None,
            open: false,
            committed: false,
            told: false,
            rests_until: None,
        });
        self.judge_dispatch(number, &candidate);
        self.calls[id].attempts.push(number);
        self.open(number);
        if stale {
            self.attempts[number].fresh = Some(opening);
            return (number, Opening::Fails(Duration::ZERO, FaultKind::StaleConnection));
        }
        (number, opening)
    }

    /// The same attempt on a fresh connection, after the idle one turned out to be closed.
    fn again(&mut self, id: usize, secret: &str) -> (usize, Opening) {
        let number = *self.calls[id].attempts.last().expect("a fresh connection follows a stale one");
        assert!(self.attempts[number].stale && self.attempts[number].secret == secret, "fresh without need");
        self.attempts[number].stale = false;
        self.open(number);
        let opening = self.attempts[number].fresh.take().expect("kept for the fresh connection");
        (number, opening)
    }

    fn open(&mut self, number: usize) {
        self.attempts[number].open = true;
        let health = self.attempts[number].health.clone();
        self.leases.entry(Arc::as_ptr(&health).addr()).or_insert((health, 0)).1 += 1;
    }

    fn close(&mut self, number: usize) {
        let attempt = &mut self.attempts[number];
        assert!(std::mem::take(&mut attempt.open), "closed twice");
        self.closed.push(number);
        let key = Arc::as_ptr(&attempt.health).addr();
        if let Some((_, count)) = self.leases.get_mut(&key) {
            *count -= 1;
        }
    }

    /// The gateway is about to learn of the fault of `number`.
    fn tell(&mut self, number: usize, ill: Ill) {
        self.attempts[number].told = true;
        self.note(|| format!("attempt {number} fails: {ill:?}"));
        let call = &self.calls[self.attempts[number].call];
        let innocent = matches!(ill, Ill::Caller | Ill::Nobody) || (ill.is_refusal() && call.refusals > 0);
        if innocent {
            let before = super::invariants::opinions(&self.gateway);
            self.news.push(News::Innocent(before));
        }
        self.oracle.before(number, &self.attempts[number], self.clock.now());
        self.news.push(News::Failed(number, ill));
    }
}

/// Carries requests into the world.
#[derive(Clone)]
pub struct Script(pub Shared);

/// Counts an attempt as under way until dropped.
struct Hold(Shared, usize);

impl Drop for Hold {
    fn drop(&mut self) {
        // While a broken promise unwinds, the world may be borrowed; nothing is judged any more.
        if let Ok(mut world) = self.0.try_borrow_mut() {
            world.close(self.1);
        }
    }
}

impl Transport for Script {
    type Body = ScriptBody;

    async fn send(
        &self,
        backend: &Arc<Backend>,
        request: WireRequest,
        fresh: bool,
    ) -> Result<(WireHead, ScriptBody), Fault> {
        let (number, opening) = self.0.borrow_mut().dispatch(&backend.name, &request, fresh);
        let hold = Hold(self.0.clone(), number);
        match opening {
            Opening::Silent => std::future::pending().await,
            Opening::Fails(wait, kind) => {
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                let mut world = self.0.borrow_mut();
                if !world.attempts[number].stale {
                    let ill = world.attempts[number].ill.expect("a failure has a cause");
                    world.tell(number, ill);
                }
                Err(Fault::new(kind, "scripted"))
            }
            Opening::Answers(wait, answer) => {
                tokio::time::sleep(wait).await;
                let Answer { status, headers, chunks, end, .. } = answer;
                let mut world = self.0.borrow_mut();
                world.attempts[number].last_byte = world.clock.now();
                // An answer of the wrong kind is refused by its head alone.
                let garbled = headers.get("content-type") == Some("text/html");
                if garbled {
                    world.tell(number, Ill::Server);
                }
                let body = ScriptBody { hold, status, chunks: chunks.into(), end, timer: None };
                Ok((WireHead { status, headers }, body))
            }
        }
    }
}

/// The bytes of a scripted answer.
pub struct ScriptBody {
    hold: Hold,
    status: u16,
    chunks: VecDeque<(Duration, Bytes)>,
    end: End,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Body for ScriptBody {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if let Some((wait, _)) = self.chunks.front() {
            if !wait.is_zero() {
                let wait = *wait;
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
                ready!(timer.as_mut().poll(cx));
                self.timer = None;
            }
            let (_, bytes) = self.chunks.pop_front().expect("looked at above");
            self.hold.0.borrow_mut().took(self.hold.1, self.status, &bytes);
            return Poll::Ready(Some(Ok(bytes)));
        }
        match self.end {
            End::Hangs => Poll::Pending,
            End::Clean => {
                self.hold.0.borrow_mut().ended(self.hold.1, self.status);
                Poll::Ready(None)
            }
            End::Broken(kind) => {
                self.hold.0.borrow_mut().ended(self.hold.1, self.status);
                Poll::Ready(Some(Err(Fault::new(kind, "scripted"))))
            }
        }
    }
}

impl World {
    /// The gateway takes bytes of an answer.
    fn took(&mut self, number: usize, status: u16, bytes: &Bytes) {
        let now = self.now();
        let attempt = &mut self.attempts[number];
        let before = attempt.taken.len();
        attempt.taken.extend_from_slice(bytes);
        attempt.last_byte = now;
        let after = attempt.taken.len();
        if status != 200 || attempt.told {
            return;
        }
        let reached = |mark: usize| before < mark && after >= mark;
        let (content, over) = (reached(attempt.content_at), reached(attempt.over_at));
        if content {
            attempt.committed = true;
            self.news.push(News::Committed(number));
        }
        if over && let Some(ill) = self.attempts[number].ill.or(self.attempts[number].late_ill) {
            self.tell(number, ill);
        }
    }

    /// The gateway learns that an answer is over.
    fn ended(&mut self, number: usize, status: u16) {
        let attempt = &mut self.attempts[number];
        if attempt.told {
            return;
        }
        let over = attempt.taken.len() >= attempt.over_at;
        match (attempt.ill, attempt.late_ill) {
            (Some(ill), _) => self.tell(number, ill),
            (None, Some(ill)) if attempt.committed => self.tell(number, ill),
            (None, _) if status == 200 && over && !attempt.committed => {
                attempt.committed = true;
                self.news.push(News::Committed(number));
            }
            (None, _) => {}
        }
    }
}
