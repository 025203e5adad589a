//! A seeded simulation of the whole core on a scripted transport with time paused: no socket, no sleep.
//!
//! Each seed draws a world of backends, groups, keys, routes and bounds, then lets hundreds of calls run through it at once
//! while upstreams fail in every way, callers leave at any moment, settings change and an operator intervenes. The promises
//! of the core are checked after every step. A failure prints its seed; `HEADGATE_SIM_SEED=n` repeats it exactly,
//! `HEADGATE_SIM_WORLDS=n` runs that many.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test tells by panicking, and prints its seed"
)]

mod breakers;
mod calls;
mod dice;
mod driver;
mod invariants;
mod layout;
mod oracle;
mod script;
mod settled;
mod world;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use headgate::chance::Chance;
use headgate::clock::Clock;
use headgate::gateway::Gateway;

use dice::Dice;
use driver::Driver;
use layout::{Layout, bounds};
use settled::Ledger;
use world::{Shared, World};

/// 2026-11-21T00:00:00Z, when every world begins.
const DAY: u64 = 1_795_219_200;
const WORLDS: u64 = 100;
const CALLS: usize = 300;

/// What a run comes to.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    steps: u64,
    calls: usize,
    attempts: usize,
    digest: u64,
}

/// Prints how to repeat a failure.
struct Blame(u64, RefCell<Option<Shared>>);

impl Drop for Blame {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if let Some(world) = self.1.borrow().as_ref() {
            // The world may be borrowed by what broke the promise.
            match world.try_borrow() {
                Ok(world) => eprintln!("step {}:\n{}", world.steps, world.trail()),
                Err(_) => eprintln!("(the last steps cannot be shown)"),
            }
        }
        eprintln!("seed {}: repeat with HEADGATE_SIM_SEED={} cargo test --test simulation", self.0, self.0);
    }
}

fn simulate(seed: u64) -> Run {
    let blame = Blame(seed, RefCell::default());
    let ledger = Ledger::default();
    let _lines = tracing::subscriber::set_default(ledger.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(tokio::task::unconstrained(async {
        let mut dice = Dice::new(seed);
        let (base, layout) = (bounds(&mut dice), Layout::draw(&mut dice));
        let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(DAY));
        let gateway = Gateway::new(layout.settings(&base), clock, Chance::seeded(dice.number()));
        let world = World::new(Arc::new(gateway.expect("a gateway")), base, layout, dice.split());
        let shared: Shared = Rc::new(RefCell::new(world));
        blame.1.replace(Some(shared.clone()));
        Driver::new(shared.clone(), ledger, dice, CALLS).run().await;
        let world = shared.borrow();
        Run {
            steps: world.steps,
            calls: world.calls.len(),
            attempts: world.attempts.len(),
            digest: world.digest(),
        }
    }))
}

#[expect(clippy::disallowed_methods, reason = "a test's own switches")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// A share of the worlds, so that the shares run side by side.
fn worlds(share: u64, of: u64) {
    if let Some(seed) = number("HEADGATE_SIM_SEED") {
        if share == 0 {
            eprintln!("{:?}", simulate(seed));
        }
        return;
    }
    let worlds = number("HEADGATE_SIM_WORLDS").unwrap_or(WORLDS);
    let (mut steps, mut calls, mut attempts) = (0, 0, 0);
    for seed in (share..worlds).step_by(of as usize) {
        let run = simulate(seed);
        (steps, calls, attempts) = (steps + run.steps, calls + run.calls, attempts + run.attempts);
    }
    eprintln!("share {share} of {of}: {steps} steps, {calls} calls, {attempts} attempts");
}

#[test]
fn the_promises_hold_in_every_world_first_half() {
    worlds(0, 2);
}

#[test]
fn the_promises_hold_in_every_world_second_half() {
    worlds(1, 2);
}

#[test]
fn a_seed_repeats_itself_exactly() {
    assert_eq!(simulate(7), simulate(7));
}
