//! `Aside`: a place for tasks that need not run.
//!
//! For each request awc makes a codec of actix-http, and with it a task that keeps the time for the `date` header, which only
//! answers have. Such a task is polled at once, sets a timer that wakes the worker a millisecond later, and then one for every
//! half second for as long as the answer lasts. Made while a set of tasks is entered that nobody polls, it costs its memory only,
//! until the set is dropped. The one other task awc makes for HTTP/1.1 closes an idle connection gently: aside, that is closed
//! plainly.

use std::cell::RefCell;
use std::pin::pin;

use std::future::poll_fn;
use tokio::task::LocalSet;

/// After so many uses what was put aside is dropped.
const USES: u32 = 64;

/// Tasks that are never polled.
#[derive(Default)]
pub struct Aside(RefCell<Set>);

#[derive(Default)]
struct Set {
    tasks: LocalSet,
    uses: u32,
}

impl Aside {
    /// Runs `work`; what it spawns on its thread is put aside.
    pub async fn run<F: Future>(&self, work: F) -> F::Output {
        // Dropped here, not while it is borrowed: tasks may do anything when they are dropped.
        let _used_up = self.used_up();
        let mut work = pin!(work);
        poll_fn(|cx| {
            let _entered = self.0.borrow().tasks.enter();
            work.as_mut().poll(cx)
        })
        .await
    }

    fn used_up(&self) -> Option<Set> {
        let mut set = self.0.borrow_mut();
        set.uses += 1;
        (set.uses > USES).then(|| std::mem::replace(&mut *set, Set { uses: 1, ..Set::default() }))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    /// Runs a test as the workers of actix-web run: in a set of tasks on a runtime of one thread.
    fn on_a_worker(test: impl Future<Output = ()>) {
        let runtime = actix_web::rt::Runtime::new().expect("a runtime");
        runtime.block_on(test);
    }

    #[test]
    fn what_work_spawns_never_runs_and_does_not_stay() {
        on_a_worker(async {
            let (aside, seen) = (Aside::default(), Rc::new(()));
            for _ in 0..200 {
                let task = seen.clone();
                let work = async move {
                    tokio::task::yield_now().await;
                    drop(tokio::task::spawn_local(async move { drop(task) }));
                };
                aside.run(work).await;
                tokio::task::yield_now().await;
                assert!(Rc::strong_count(&seen) > 1, "it did not run");
            }
            assert_eq!(Rc::strong_count(&seen), 1 + 200 - 3 * 64);
            drop(aside);
            assert_eq!(Rc::strong_count(&seen), 1);
        });
    }

    #[test]
    fn what_others_spawn_runs_as_ever() {
        on_a_worker(async {
            let aside = Aside::default();
            let (tell, told) = tokio::sync::oneshot::channel();
            let outer = tokio::task::spawn_local(async move { tell.send(7) });
            assert_eq!(aside.run(told).await, Ok(7), "work may wait for tasks that run");
            assert_eq!(tokio::task::spawn_local(async { 8 }).await.expect("it ran"), 8);
            assert_eq!(outer.await.expect("it ran"), Ok(()));
        });
    }
}
