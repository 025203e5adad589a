//! Draining: that shutdown has begun, and the moment at which whatever is still under way must say goodbye.
//!
//! The goodbye is one shared bell. A call arms it only while it waits for something else and only once for each waker, so
//! that a chunk of a stream costs no lock and no task exists for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// What callers are told when their call outlives the drain.
pub const GOODBYE: &str = "The gateway is shutting down";

/// How far shutdown has come.
#[derive(Debug, Default)]
pub struct Drain {
    begun: AtomicBool,
    over: AtomicBool,
    bell: Arc<Notify>,
}

impl Drain {
    /// Shutdown has begun: `/readyz` says so, answers close their connections.
    pub fn begin(&self) {
        self.begun.store(true, Relaxed);
    }

    /// Whether shutdown has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.load(Relaxed)
    }

    /// The time for finishing is over: every call that still runs ends with an error of ours.
    pub fn say_goodbye(&self) {
        self.over.store(true, SeqCst);
        self.bell.notify_waiters();
    }

    /// Whether the time for finishing is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Runs `work`, but no longer than until the goodbye; `None` when that came first. It takes `work` pinned, for a future
    /// that moves in lies there twice.
    pub async fn until_goodbye<R>(&self, mut work: Pin<&mut impl Future<Output = R>>) -> Option<R> {
        let mut bell = std::pin::pin!(self.bell.notified());
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            // Armed before looking, so that a bell rung in between is not missed.
            let rung = bell.as_mut().poll(cx).is_ready();
            if rung || self.is_over() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }
}

/// One call's ear for the bell; dropping it stops listening.
#[derive(Debug, Default)]
pub struct Goodbye(Option<(Pin<Box<OwnedNotified>>, Waker)>);

impl Goodbye {
    /// Ready once the time for finishing is over; else `cx` is woken when it is. To be asked only when there is nothing else
    /// to do.
    pub fn poll(&mut self, drain: &Drain, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((_, waker)) = &self.0
            && waker.will_wake(cx.waker())
            && !drain.is_over()
        {
            return Poll::Pending;
        }
        let mut notified = match self.0.take() {
            Some((notified, _)) => notified,
            None => Box::pin(drain.bell.clone().notified_owned()),
        };
        // Armed before looking, so that a bell rung in between is not missed.
        let rung = notified.as_mut().poll(cx).is_ready();
        if rung || drain.is_over() {
            return Poll::Ready(());
        }
        self.0 = Some((notified, cx.waker().clone()));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn the_goodbye_ends_what_waits_and_what_comes_later() {
        let drain = Arc::new(Drain::default());
        assert_eq!(drain.until_goodbye(pin!(std::future::ready(1))).await, Some(1));
        let waiting = {
            let drain = drain.clone();
            tokio::spawn(async move { drain.until_goodbye(pin!(std::future::pending::<()>())).await })
        };
        tokio::task::yield_now().await;
        drain.begin();
        assert!(drain.has_begun() && !drain.is_over() && !waiting.is_finished());
        drain.say_goodbye();
        assert_eq!(waiting.await.unwrap(), None);
        assert_eq!(drain.until_goodbye(pin!(std::future::pending::<()>())).await, None);
        assert_eq!(
            drain.until_goodbye(pin!(std::future::ready(2))).await,
            Some(2),
            "what is ready is not lost"
        );
    }
}
