//! `POST /admin/v1/reload`: reads the configuration again and answers what became of it.

use serde_json::{Value, json};

use super::problem::Problem;
use super::show::Now;
use crate::gateway::Gateway;
use crate::reload::{Reload, Trigger};

/// Reloads; a rejected reload is an answer, not an error of the request.
pub async fn reload(gateway: &Gateway) -> Result<Value, Problem> {
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
