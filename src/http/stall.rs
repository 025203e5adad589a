//! Callers over HTTP/2 who stop taking bytes.
//!
//! Over HTTP/1.1 the kernel cuts them (`TCP_USER_TIMEOUT`). Over HTTP/2 a caller may close a stream's window and keep the
//! connection alive: then nobody polls the body, no timer inside it fires, and its key and upstream would stay taken. One
//! task per worker looks at the bodies on HTTP/2 and drops what has not been asked for more in time; the caller's stream is
//! reset should it ever go on.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use crate::clock::Moment;
use crate::gateway::Gateway;

/// Longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The HTTP/2 bodies of one worker.
#[derive(Clone)]
pub struct Stalls {
    gateway: Arc<Gateway>,
    bodies: Rc<RefCell<Vec<Weak<RefCell<Watched>>>>>,
}

struct Watched {
    /// `None` once its caller was given up.
    body: Option<BoxBody>,
    /// When bytes were handed out and nothing was asked for since.
    taken_at: Option<Moment>,
}

/// The caller took no bytes for too long.
#[derive(Debug, thiserror::Error)]
#[error("the caller took no bytes in time")]
struct Stalled;

impl Stalls {
    /// Watches over this worker for as long as it lives.
    #[must_use]
    pub fn start(gateway: Arc<Gateway>) -> Self {
        let stalls = Self { gateway, bodies: Rc::default() };
        actix_web::rt::spawn(stalls.clone().look());
        stalls
    }

    /// The same body, dropped when its caller stalls.
    #[must_use]
    pub fn watch(&self, body: BoxBody) -> BoxBody {
        let size = body.size();
        let watched = Rc::new(RefCell::new(Watched { body: Some(body), taken_at: None }));
        self.bodies.borrow_mut().push(Rc::downgrade(&watched));
        BoxBody::new(WatchedBody { size, watched, gateway: self.gateway.clone() })
    }

    async fn look(self) {
        let clock = self.gateway.clock;
        loop {
            let patience = self.gateway.settings().deadlines.write_stall;
            clock.sleep_until(clock.now() + LOOK_EVERY.min(patience / 2)).await;
            let now = clock.now();
            self.bodies.borrow_mut().retain(|body| body.strong_count() > 0);
            let bodies = self.bodies.borrow().clone();
            for watched in bodies.iter().filter_map(Weak::upgrade) {
                let stalled = watched.borrow().taken_at.is_some_and(|at| now.since(at) >= patience);
                if stalled {
                    let given_up = watched.borrow_mut().body.take();
                    drop(given_up);
                }
            }
        }
    }
}

struct WatchedBody {
    size: BodySize,
    watched: Rc<RefCell<Watched>>,
    gateway: Arc<Gateway>,
}

impl MessageBody for WatchedBody {
    type Error = Stalled;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Stalled>>> {
        let mut watched = self.watched.borrow_mut();
        let Some(body) = &mut watched.body else { return Poll::Ready(Some(Err(Stalled))) };
        let next = Pin::new(body).poll_next(cx);
        watched.taken_at = match &next {
            Poll::Ready(Some(Ok(_))) => Some(self.gateway.clock.now()),
            Poll::Ready(Some(Err(_)) | None) | Poll::Pending => None,
        };
        next.map(|next| next.map(|read| read.map_err(|_| Stalled)))
    }
}
