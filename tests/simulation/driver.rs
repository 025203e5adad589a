//! Drives a world: polls its calls one at a time in an order drawn by dice, lets callers leave between any two polls, and
//! changes troubles, settings and an operator's mind on the way. Every poll and every change is a step with its checks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use headgate::clock::Moment;
use headgate::pool::breaker::Force;
use headgate::pool::park::Notice;
use headgate_providers::FaultKind;

use super::calls::{Wish, call};
use super::dice::Dice;
use super::invariants::{OUT, PROBING, gates, opinions};
use super::layout::MODELS;
use super::oracle::Scope;
use super::script::{Place, Told, Trouble};
use super::settled::Ledger;
use super::world::{Shared, Stage};

/// Which calls want to be polled, and who polls them.
#[derive(Default)]
struct Wakes {
    ready: Mutex<Vec<usize>>,
    driver: Mutex<Option<Waker>>,
}

struct Bell(usize, Arc<Wakes>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let mut ready = self.1.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.0) {
            ready.push(self.0);
        }
        drop(ready);
        if let Some(driver) = self.1.driver.lock().unwrap_or_else(PoisonError::into_inner).take() {
            driver.wake();
        }
    }
}

struct Child {
    future: Pin<Box<dyn Future<Output = ()>>>,
    /// Leaves after this many polls.
    polls_left: Option<usize>,
}

/// What happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Calls,
    Trouble,
    Reload,
    Operator,
    Leave(usize),
    Watch,
}

pub struct Driver {
    shared: Shared,
    ledger: Ledger,
    dice: Dice,
    children: Vec<Option<Child>>,
    wakes: Arc<Wakes>,
    agenda: BinaryHeap<Reverse<(Moment, u64, Event)>>,
    entries: u64,
    /// Calls still to be made while there are troubles.
    calls_left: usize,
    /// Milliseconds between two troubles.
    pace: u64,
}

impl Driver {
    pub fn new(shared: Shared, ledger: Ledger, mut dice: Dice, calls: usize) -> Self {
        let pace = *dice.pick(&[700, 2_500, 8_000]);
        Self {
            shared,
            ledger,
            dice,
            children: Vec::new(),
            wakes: Arc::default(),
            agenda: BinaryHeap::new(),
            entries: 0,
            calls_left: calls,
            pace,
        }
    }

    /// Trouble, then calm, then everything must be well again.
    pub async fn run(&mut self) {
        for event in [Event::Calls, Event::Trouble, Event::Reload, Event::Operator, Event::Watch] {
            let wait = self.dice.millis(0, 3_000);
            self.after(wait, event);
        }
        while self.calls_left > 0 || self.busy() {
            self.step().await;
        }
        self.agenda.clear();
        self.calm();
        // Every rest and every open period is over by now; light traffic finds out.
        for _ in 0..20 {
            self.pass(Duration::from_secs(6)).await;
            for (model, _) in MODELS {
                self.start(&Self::plain(model, false));
            }
        }
        self.pass(Duration::from_secs(20)).await;
        for _ in 0..3 {
            for (model, _) in MODELS {
                for _ in 0..6 {
                    self.start(&Self::plain(model, true));
                }
            }
            self.pass(Duration::from_secs(60)).await;
        }
        self.at_rest();
    }

    fn plain(model: &'static str, strict: bool) -> Wish {
        Wish {
            model,
            stream: true,
            patience: Duration::from_secs(28),
            poison: None,
            first_tier_only: false,
            dawdles: 0,
            strict,
        }
    }

    fn busy(&self) -> bool {
        self.children.iter().any(Option::is_some)
    }

    fn now(&self) -> Moment {
        self.shared.borrow().now()
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.entries += 1;
        let due = self.now() + wait;
        self.agenda.push(Reverse((due, self.entries, event)));
    }

    /// Runs for `span` with all that is under way.
    async fn pass(&mut self, span: Duration) {
        let until = self.now() + span;
        self.after(span, Event::Watch);
        while self.now() < until {
            self.step().await;
        }
    }

    /// One event, or one poll of one call, or the wait for either.
    async fn step(&mut self) {
        let now = self.now();
        if let Some(Reverse((due, _, event))) = self.agenda.peek().copied()
            && due <= now
        {
            self.agenda.pop();
            self.happen(event);
            return;
        }
        let woken = {
            let ready = self.wakes.ready.lock().unwrap_or_else(PoisonError::into_inner);
            if ready.is_empty() { None } else { Some(ready.len()) }
        };
        let Some(woken) = woken else { return self.idle().await };
        let chosen = self.dice.below(woken);
        let id = self.wakes.ready.lock().unwrap_or_else(PoisonError::into_inner).swap_remove(chosen);
        self.poll(id);
    }

    fn poll(&mut self, id: usize) {
        let Some(Some(child)) = self.children.get_mut(id) else { return };
        match &mut child.polls_left {
            Some(0) => return self.leave(id),
            Some(left) => *left -= 1,
            None => {}
        }
        let waker = Waker::from(Arc::new(Bell(id, self.wakes.clone())));
        let done = child.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if done {
            self.children[id] = None;
        }
        self.check(Some(id), false);
    }

    fn leave(&mut self, id: usize) {
        if self.children.get(id).is_none_or(Option::is_none) {
            return;
        }
        let gateway = {
            let mut world = self.shared.borrow_mut();
            world.leaves(id);
            world.gateway.clone()
        };
        let before = opinions(&gateway);
        self.children[id] = None;
        assert_eq!(opinions(&gateway), before, "a caller who leaves moves no park and no breaker");
        self.check(Some(id), true);
    }

    fn check(&mut self, id: Option<usize>, aborted: bool) {
        let settlements = self.ledger.take();
        self.shared.borrow_mut().after_step(id, aborted, &settlements);
    }

    /// Waits for a wake or for the next entry of the agenda.
    async fn idle(&mut self) {
        let Some(Reverse((due, _, _))) = self.agenda.peek().copied() else {
            panic!("nothing will ever happen")
        };
        self.shared.borrow().judge_idle();
        let clock = self.shared.borrow().clock;
        let mut timer = Box::pin(clock.sleep_until(due));
        let wakes = self.wakes.clone();
        poll_fn(|cx| {
            *wakes.driver.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
            if !wakes.ready.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return Poll::Ready(());
            }
            timer.as_mut().poll(cx)
        })
        .await;
    }

    fn start(&mut self, wish: &Wish) -> usize {
        let (id, future) = call(&self.shared, wish);
        let polls_left = (!wish.strict && self.dice.percent(8)).then(|| self.dice.below(12));
        assert_eq!(id, self.children.len());
        self.children.push(Some(Child { future: Box::pin(future), polls_left }));
        Arc::new(Bell(id, self.wakes.clone())).wake();
        id
    }

    fn happen(&mut self, event: Event) {
        let wait = match event {
            Event::Calls => {
                self.more_calls();
                *self.dice.pick(&[0, 5, 50, 200, 1_500])
            }
            Event::Trouble => {
                self.trouble();
                self.pace
            }
            Event::Reload => {
                self.reload();
                12_000
            }
            Event::Operator => {
                self.operator();
                4_000
            }
            Event::Leave(id) => return self.leave(id),
            Event::Watch => {
                self.watch();
                1_000
            }
        };
        let wait = self.dice.millis(0, 2 * wait);
        if self.calls_left > 0 || event == Event::Watch {
            self.after(wait, event);
        }
        self.check(None, false);
    }

    fn more_calls(&mut self) {
        let most = *self.dice.pick(&[1, 1, 4, 12]);
        let count = (1 + self.dice.below(most)).min(self.calls_left);
        self.calls_left -= count;
        for _ in 0..count {
            let wish = self.shared.borrow_mut().wish();
            let id = self.start(&wish);
            if self.dice.percent(12) {
                let wait = self.dice.millis(0, 9_000);
                self.after(wait, Event::Leave(id));
            }
        }
    }

    /// No call may be stuck.
    fn watch(&mut self) {
        let world = self.shared.borrow();
        for id in world.oldest..world.calls.len() {
            world.judge_clocks(id);
            let call = &world.calls[id];
            let most = call.deadline + Duration::from_secs(200);
            assert!(call.stage == Stage::Over || world.now() < most, "call {id} never ends");
        }
    }

    fn trouble(&mut self) {
        let mut world = self.shared.borrow_mut();
        let layout = world.layout.clone();
        let up = self.dice.pick(&layout.backends);
        let key = self.dice.pick(&up.keys);
        let told = *self.dice.pick(&[Told::Seconds, Told::Millis, Told::Date, Told::Reset, Told::Not]);
        let (model, _) = *self.dice.pick(&MODELS);
        let group = Place::Group(up.name.clone(), key.group.clone());
        let (place, trouble) = match self.dice.below(10) {
            0 | 1 => {
                let of_key = [Trouble::Refused, Trouble::Forbidden, Trouble::ForbiddenModel];
                (Place::Key(key.name.clone()), *self.dice.pick(&of_key))
            }
            2..=4 => (group, Trouble::Limited(told)),
            5 => (group, *self.dice.pick(&[Trouble::Spent, Trouble::Credit])),
            6 | 7 => {
                let of_backend = [
                    Trouble::Unreachable,
                    Trouble::Resets,
                    Trouble::Silent,
                    Trouble::Failing,
                    Trouble::Overloaded,
                ];
                (Place::Backend(up.name.clone()), *self.dice.pick(&of_backend))
            }
            _ => {
                let of_model = [
                    Trouble::Failing,
                    Trouble::Overloaded,
                    Trouble::NoModel,
                    Trouble::ErrorsFirst,
                    Trouble::CutEarly,
                    Trouble::CutLate,
                    Trouble::Slow,
                ];
                (Place::Model(up.name.clone(), model.to_owned()), *self.dice.pick(&of_model))
            }
        };
        let most = *self.dice.pick(&[1_500, 5_000, 15_000]);
        let until = world.now() + self.dice.millis(200, most);
        world.note(|| format!("{trouble:?} at {place:?} until {} us", until.as_micros()));
        world.troubles.insert(place, (trouble, until));
    }

    fn reload(&mut self) {
        let mut world = self.shared.borrow_mut();
        let mut layout = (*world.layout).clone();
        let what = layout.change(&mut self.dice);
        world.note(|| format!("reload: {what}"));
        world.epoch += 1;
        let (settings, epoch) = (layout.settings(&world.base), world.epoch);
        world.gateway.reload(settings);
        world.oracle.reload(&layout, epoch);
        world.layout = Rc::new(layout);
    }

    fn operator(&mut self) {
        let mut world = self.shared.borrow_mut();
        let (gateway, now) = (world.gateway.clone(), world.now());
        let table = gateway.pool.table();
        let seats: Vec<_> = table.seats().collect();
        let (up, seat) = *self.dice.pick(&seats);
        let layout = world.layout.clone();
        let all = || layout.backends.iter().flat_map(|up| &up.keys);
        let secret =
            all().find(|key| key.name == seat.id.name).map(|key| key.secret.clone()).expect("a known key");
        let of_key = Scope::Key(secret);
        let of_group = Scope::Group(up.settings.name.clone(), seat.group_name.clone());
        let (choice, span) = (self.dice.below(8), self.dice.millis(100, 8_000));
        world.note(|| format!("operator: {choice} on {} and {}", seat.id.name, up.settings.name));
        match choice {
            0 => {
                let until = now + span;
                let notice =
                    Notice { reason: FaultKind::Hold, dimension: None, source: None, since: now, until };
                seat.health.park.hold(now, notice);
                world.oracle.ordered(of_key, Some(until));
            }
            1 => {
                seat.health.park.clear();
                world.oracle.ordered(of_key, None);
            }
            2 => {
                seat.group.park.clear();
                world.oracle.ordered(of_group, None);
                for (model, _) in MODELS {
                    let class = super::layout::class_of(model);
                    seat.group.class(class).clear();
                    let backend = up.settings.name.clone();
                    world.oracle.ordered(Scope::GroupClass(backend, seat.group_name.clone(), class), None);
                }
            }
            3 => seat.health.disabled.store(true, Relaxed),
            4 | 5 => seats.iter().for_each(|(_, seat)| seat.health.disabled.store(false, Relaxed)),
            _ => {
                let force =
                    *self.dice.pick(&[Force::Open, Force::Closed, Force::Auto, Force::Auto, Force::Auto]);
                let breaker =
                    if choice == 6 { up.state.connections.clone() } else { up.state.model(MODELS[0].0) };
                breaker.force(force);
                world.breakers.forced(&breaker, force);
            }
        }
        gateway.pool.changed();
    }

    /// All troubles end; an operator takes back what was ordered.
    fn calm(&mut self) {
        let mut world = self.shared.borrow_mut();
        world.note(|| "calm".to_owned());
        world.troubles.clear();
        world.misfortunes = 0;
        let gateway = world.gateway.clone();
        let table = gateway.pool.table();
        for (_, seat) in table.seats() {
            seat.health.disabled.store(false, Relaxed);
        }
        for up in &table.upstreams {
            let models = up.state.models().into_iter().map(|(_, breaker)| breaker);
            for breaker in models.chain([up.state.connections.clone()]) {
                // Only what an operator forced: the rest must come back by itself.
                if world.breakers.is_forced(&breaker) {
                    breaker.force(Force::Auto);
                    world.breakers.forced(&breaker, Force::Auto);
                }
            }
        }
        gateway.pool.changed();
    }

    /// Nothing runs, and nothing is left behind.
    fn at_rest(&mut self) {
        assert!(!self.busy(), "a call never ended");
        let world = self.shared.borrow();
        let gateway = &world.gateway;
        assert_eq!(gateway.pool.waiting(), 0);
        assert!(
            gateway.pool.join(gateway.clock.now(), world.base.queue.max_waiting_bytes).is_some(),
            "bytes of the queue came back"
        );
        assert_eq!(gateway.buffered.load(Relaxed), 0);
        for (health, _) in world.leases.values() {
            assert_eq!(health.in_flight.load(Relaxed), 0);
        }
        assert!(world.calls.iter().all(|call| call.settled), "every call is settled");
        for (name, (kind, _)) in gates(gateway) {
            assert_ne!(kind, OUT, "{name} is still out of use");
            assert_ne!(kind, PROBING, "{name} waits for a probe that is over");
        }
    }
}
