//! `POST /admin/v1/reload`: reads the configuration again and answers what became of it.

use futures_util::future::{FutureExt as _, LocalBoxFuture};
use serde_json::{Value, json};

use super::problem::Problem;
use super::show::Now;
use super::{Answer, Asked};
use crate::gateway::Gateway;
use crate::registry;
use crate::reload::{Reload, Trigger};
use crate::store::NewAudit;

/// `POST /admin/v1/reload`, written to the audit trail.
pub fn ask(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let Asked { gateway, operator, source, query, body, .. } = asked;
        query.done()?;
        body.done()?;
        let actor = operator.actor(source);
        let answer = reload(gateway).await?;
        let entry = NewAudit {
            actor: actor.name,
            role: actor.role.to_owned(),
            source: actor.source,
            action: "reload".to_owned(),
            kind: "configuration".to_owned(),
            id: String::new(),
            before: None,
            after: Some(json!({ "outcome": answer["outcome"], "problems": answer["problems"] })),
        };
        // What was reloaded is in force, whatever the store says; the log has it too.
        if let Err(refusal) = registry::note(gateway, entry).await {
            tracing::warn!(?refusal, "a reload could not be written to the audit trail");
        }
        Ok(Answer::new(200, answer))
    }
    .boxed_local()
}

/// Reloads; a rejected reload is an answer, not an error of the request.
async fn reload(gateway: &Gateway) -> Result<Value, Problem> {
    let Some(last) = crate::reload::reload(gateway, Trigger::Api).await else {
        return Err(Problem::conflict(
            "This process was not started from a configuration it could read again.",
        ));
    };
    let book = gateway.reloads.book();
    let mut answer = shown(&last, Now::read(gateway.clock));
    answer["config_generation"] = book.generation.into();
    answer["needs_restart"] = json!(book.needs_restart);
    Ok(answer)
}

/// One reload.
pub fn shown(reload: &Reload, now: Now) -> Value {
    json!({
        "at": now.date(reload.at),
        "trigger": reload.trigger.name(),
        "outcome": reload.outcome(),
        "problems": reload.problems,
    })
}
