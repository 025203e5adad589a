//! What operators do to live state: done at once, then written down.

use serde_json::Value;

use super::problem::Problem;
use super::table::Now;
use super::{Answer, Asked, Fields};
use crate::registry;
use crate::store::NewAudit;

/// Acts, and writes to the audit trail how it was and became.
pub async fn operate(asked: Asked<'_>, action: &'static str, act: Now, show: Now) -> Result<Answer, Problem> {
    let (gateway, operator, source) = (asked.gateway, asked.operator, asked.source);
    let before = show(Asked { body: Fields::default(), ..asked.clone() })?;
    let kind = asked.route.path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let kind = kind.trim_end_matches('s').to_owned();
    let id = before["id"].as_str().unwrap_or(asked.id).to_owned();
    let after = act(asked)?;
    let actor = operator.actor(source);
    let entry = NewAudit {
        actor: actor.name,
        role: actor.role.to_owned(),
        source: actor.source,
        action: format!("{kind}.{action}"),
        kind,
        id,
        before: Some(short(before)),
        after: Some(short(after.clone())),
    };
    if let Err(refusal) = registry::note(gateway, entry).await {
        let detail = format!(
            "It is in force in this process, but could not be written down: {}",
            Problem::from(refusal)
        );
        return Err(Problem::unavailable(detail));
    }
    Ok(Answer::new(200, after))
}

/// What an action can change.
fn short(mut shown: Value) -> Value {
    if let Some(table) = shown.as_object_mut() {
        table.retain(|name, _| {
            matches!(name.as_str(), "enabled" | "draining" | "state" | "parks" | "asked_last" | "breakers")
        });
    }
    shown
}
