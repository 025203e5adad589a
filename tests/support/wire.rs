//! The scripted [`Transport`]: plays an [`Answer`] per request and remembers who was asked what, when.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use headgate::clock::{Clock, Moment};
use headgate::config::checked::Backend;
use headgate::transport::{Body, Transport};
use headgate_providers::{Fault, WireHead, WireRequest};
use tokio::time::Sleep;

use super::answer::{Answer, Step};

/// One request as it left.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Moment,
    pub key: String,
    pub backend: String,
    pub path: String,
    pub body: Bytes,
    pub fresh: bool,
}

type Rule = Rc<RefCell<dyn FnMut(&Sent) -> Answer>>;

struct Script {
    clock: Clock,
    rules: RefCell<HashMap<String, Rule>>,
    sent: RefCell<Vec<Sent>>,
    open: Cell<usize>,
}

/// The transport of one test.
#[derive(Clone)]
pub struct Wire(Rc<Script>);

impl Wire {
    /// Every key answers [`Answer::ok`], or a stream where one was asked for, until told otherwise.
    pub fn new(clock: Clock) -> Self {
        let script =
            Script { clock, rules: RefCell::default(), sent: RefCell::default(), open: Cell::new(0) };
        Self(Rc::new(script))
    }

    /// What a key does from now on.
    pub fn on(&self, key: &str, rule: impl FnMut(&Sent) -> Answer + 'static) {
        self.0.rules.borrow_mut().insert(key.to_owned(), Rc::new(RefCell::new(rule)));
    }

    /// The same answer to every request.
    pub fn always(&self, key: &str, answer: Answer) {
        self.on(key, move |_| answer.clone());
    }

    /// These answers in order, then good ones.
    pub fn script(&self, key: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut answers: VecDeque<Answer> = answers.into_iter().collect();
        self.on(key, move |sent| answers.pop_front().unwrap_or_else(|| good(sent)));
    }

    /// Good answers again.
    pub fn heal(&self, key: &str) {
        self.on(key, good);
    }

    /// Every request so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.0.sent.borrow().clone()
    }

    /// The keys in the order they were asked.
    pub fn order(&self) -> Vec<String> {
        self.0.sent.borrow().iter().map(|sent| sent.key.clone()).collect()
    }

    /// When a key was asked.
    pub fn times(&self, key: &str) -> Vec<Duration> {
        let sent = self.0.sent.borrow();
        sent.iter().filter(|sent| sent.key == key).map(|sent| sent.at.since(Moment::default())).collect()
    }

    /// How often a key was asked.
    pub fn count(&self, key: &str) -> usize {
        self.0.sent.borrow().iter().filter(|sent| sent.key == key).count()
    }

    /// How many requests there were.
    pub fn total(&self) -> usize {
        self.0.sent.borrow().len()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.0.sent.borrow_mut().clear();
    }

    /// Exchanges that are neither read to their end nor closed.
    pub fn open(&self) -> usize {
        self.0.open.get()
    }
}

/// A good answer in the form that was asked for.
pub fn good(sent: &Sent) -> Answer {
    let streams = std::str::from_utf8(&sent.body).is_ok_and(|body| body.contains(r#""stream":true"#));
    if streams { Answer::streams("hello there") } else { Answer::ok() }
}

/// The secret that a request presents, in either form.
fn presented(request: &WireRequest) -> &str {
    let bearer = request.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
    request.headers.get("x-api-key").or(bearer).unwrap_or_default()
}

impl Transport for Wire {
    type Body = Playing;

    async fn send(
        &self,
        backend: &Arc<Backend>,
        request: WireRequest,
        fresh: bool,
    ) -> Result<(WireHead, Playing), Fault> {
        let script = &self.0;
        let sent = Sent {
            at: script.clock.now(),
            key: presented(&request).to_owned(),
            backend: backend.name.clone(),
            path: request.path.clone(),
            body: request.body.concat().into(),
            fresh,
        };
        script.sent.borrow_mut().push(sent.clone());
        let rule = script.rules.borrow().get(&sent.key).cloned();
        let answer = match rule {
            Some(rule) => (rule.borrow_mut())(&sent),
            None => good(&sent),
        };
        let mut playing = Playing::new(self.clone(), answer);
        let head = std::future::poll_fn(|cx| playing.poll_head(cx)).await?;
        Ok((head, playing))
    }
}

/// An answer being played.
pub struct Playing {
    wire: Wire,
    steps: VecDeque<Step>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Playing {
    fn new(wire: Wire, answer: Answer) -> Self {
        wire.0.open.set(wire.0.open.get() + 1);
        Self { wire, steps: answer.steps.into(), pause: None }
    }

    /// The next step that is no pause; `None` at the end.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.steps.front() {
                Some(Step::Hang) => return Poll::Pending,
                Some(Step::Pause(span)) => {
                    let clock = self.wire.0.clock;
                    self.pause = Some(Box::pin(clock.sleep_until(clock.now() + *span)));
                    self.steps.pop_front();
                }
                Some(Step::Head(_) | Step::Chunk(_) | Step::Fail(_)) | None => {
                    return Poll::Ready(self.steps.pop_front());
                }
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<WireHead, Fault>> {
        Poll::Ready(match std::task::ready!(self.poll_step(cx)) {
            Some(Step::Head(head)) => Ok(head),
            Some(Step::Fail(kind)) => Err(Fault::new(kind, "scripted")),
            step => panic!("a script begins with a head or a failure, not {step:?}"),
        })
    }
}

impl Body for Playing {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        Poll::Ready(match std::task::ready!(self.poll_step(cx)) {
            Some(Step::Chunk(bytes)) => Some(Ok(bytes)),
            Some(Step::Fail(kind)) => {
                self.steps.clear();
                Some(Err(Fault::new(kind, "scripted")))
            }
            Some(step) => panic!("no step of a body: {step:?}"),
            None => None,
        })
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.wire.0.open.set(self.wire.0.open.get() - 1);
    }
}
