//! `GET /admin/v1/audit`: who changed what, the newest first.

use futures_util::future::{FutureExt as _, LocalBoxFuture};
use serde_json::{Value, json};

use super::problem::Problem;
use super::show::date;
use super::{Answer, Asked};
use crate::registry::Refusal;
use crate::store::{AuditEntry, AuditPage};

/// Entries on a page.
const USUAL: i64 = 100;
const MOST: i64 = 1000;

/// A page of the trail; `after` is the last page's last id, as in every list.
pub fn list(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let Asked { gateway, mut query, body, .. } = asked;
        let limit = query.whole("limit", 1..=MOST)?.unwrap_or(USUAL);
        let page = AuditPage {
            actor: query.text("actor")?,
            kind: query.text("kind")?,
            id: query.text("id")?,
            before: query.whole("after", 0..=i64::MAX)?,
            limit: u32::try_from(limit + 1).unwrap_or(u32::MAX),
        };
        query.done()?;
        body.done()?;
        let Some(store) = gateway.registry.store() else {
            return Err(Problem::unavailable("There is no store."));
        };
        let mut entries = store.audit(page).await.map_err(Refusal::from)?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = entries.len() > most;
        entries.truncate(most);
        let last = entries.last().map(|entry| entry.seq.to_string());
        let data: Vec<Value> = entries.iter().map(shown).collect();
        Ok(Answer::new(200, json!({ "data": data, "has_more": has_more, "last_id": last })))
    }
    .boxed_local()
}

fn shown(entry: &AuditEntry) -> Value {
    let AuditEntry { seq, at, entry } = entry;
    json!({
        "id": seq.to_string(),
        "at": date(*at),
        "actor": entry.actor,
        "role": entry.role,
        "source": entry.source,
        "action": entry.action,
        "kind": entry.kind,
        "resource": entry.id,
        "before": entry.before,
        "after": entry.after,
    })
}
