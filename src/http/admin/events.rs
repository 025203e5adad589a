//! `GET /admin/v1/events`: what happens, as server-sent events.
//!
//! The ring of [`crate::events`] is the only buffer: a reader that is too slow skips what the ring lost and is told. The stream
//! ends when the process drains, so that it never holds a shutdown up.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use bytes::Bytes;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use serde_json::json;

use super::problem::Problem;
use super::show::Now;
use super::{Answer, Asked};
use crate::events::{Event, What};
use crate::gateway::Gateway;

/// How often a comment goes out when nothing happens.
const PING: Duration = Duration::from_secs(15);
/// How often the end of the process is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// Events taken from the ring at once.
const BATCH: usize = 64;

/// Where a reader is.
struct Reader {
    gateway: Arc<Gateway>,
    after: u64,
    kinds: Vec<String>,
    ready: VecDeque<Bytes>,
}

/// Streams events after `?after=` or `Last-Event-ID`; without either from now on.
pub fn stream(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let Asked { gateway, mut query, body, last_event, .. } = asked;
        let after = query.whole("after", 0..=i64::MAX)?;
        let kinds = query.text("kind")?.unwrap_or_default();
        query.done()?;
        body.done()?;
        let kinds: Vec<String> =
            kinds.split(',').filter(|kind| !kind.is_empty()).map(str::to_owned).collect();
        if kinds.iter().any(|kind| !What::KINDS.contains(&kind.as_str())) {
            return Err(Problem::field("kind", format!("expected some of {}", What::KINDS.join(", "))));
        }
        let after = last_event.or(after.and_then(|after| u64::try_from(after).ok()));
        let after = after.unwrap_or_else(|| gateway.pool.events().last());
        let ready = VecDeque::from([Bytes::from_static(b": connected\n\n")]);
        let reader = Reader { gateway: gateway.clone(), after, kinds, ready };
        let bytes = futures_util::stream::unfold(reader, |reader| reader.next());
        let mut response = HttpResponse::Ok();
        Ok(Answer::Whole(super::shown(&mut response).content_type("text/event-stream").streaming(bytes)))
    }
    .boxed_local()
}

impl Reader {
    async fn next(mut self) -> Option<(Result<Bytes, actix_web::Error>, Self)> {
        let gateway = self.gateway.clone();
        let quiet_until = gateway.clock.now() + PING;
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some((Ok(bytes), self));
            }
            let mut bell = pin!(gateway.pool.events().bell());
            bell.as_mut().enable();
            self.fetch();
            if !self.ready.is_empty() {
                continue;
            }
            if gateway.drain.has_begun() {
                return None;
            }
            let now = gateway.clock.now();
            if now >= quiet_until {
                return Some((Ok(Bytes::from_static(b": ping\n\n")), self));
            }
            tokio::select! {
                () = bell => {}
                () = gateway.clock.sleep_until(now + LOOK) => {}
            }
        }
    }

    fn fetch(&mut self) {
        let news = self.gateway.pool.events().since(self.after, BATCH);
        let now = Now::read(self.gateway.clock);
        if news.missed > 0 {
            self.ready.push_back(format!(": {} events were lost\n\n", news.missed).into());
        }
        for event in news.events {
            self.after = event.id;
            if self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == event.what.kind()) {
                self.ready.push_back(frame(&event, now));
            }
        }
    }
}

fn frame(event: &Event, now: Now) -> Bytes {
    let mut data = serde_json::to_value(&event.what).unwrap_or_default();
    data["at"] = json!(now.date(event.at));
    format!("id: {}\nevent: {}\ndata: {data}\n\n", event.id, event.what.kind()).into()
}
