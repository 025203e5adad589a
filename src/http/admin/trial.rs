//! `POST /admin/v1/keys/{id}/test`: does the key open, does upstream take it, has it the model.

use futures_util::future::{FutureExt as _, LocalBoxFuture};
use serde_json::json;

use super::problem::Problem;
use super::show::millis;
use super::{Answer, Asked};
use crate::config::Kind;
use crate::registry;
use crate::store::NewAudit;
use crate::trial::{self, Trial};

/// Tries one key.
pub fn test(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let Asked { gateway, links, operator, source, id, query, mut body, .. } = asked;
        query.done()?;
        let model = body.text("model")?.filter(|model| !model.is_empty());
        body.done()?;
        let view = gateway.registry.view(gateway);
        let began = gateway.clock.now();
        let table = gateway.pool.table();
        let found = table.seats().find(|(_, seat)| seat.id.name == id);
        let (trial, decrypts) = match found {
            Some(found) => (trial::run(gateway, links, found, model).await, true),
            None => {
                let entry = view.entry(Kind::Key, id).ok_or_else(|| Problem::unknown("key", id))?;
                let detail = view.problem(Kind::Key, id).map(str::to_owned);
                (Trial { detail, model, ..Trial::default() }, entry.sealed_shut.is_none())
            }
        };
        let ok = trial.authenticates == Some(true) && trial.model_reachable != Some(false);
        let answer = json!({
            "ok": ok,
            "decrypts": decrypts,
            "authenticates": trial.authenticates,
            "model": trial.model,
            "model_reachable": trial.model_reachable,
            "status": trial.status,
            "detail": trial.detail,
            "duration_ms": millis(gateway.clock.now().since(began)),
        });
        let actor = operator.actor(source);
        let entry = NewAudit {
            actor: actor.name,
            role: actor.role.to_owned(),
            source: actor.source,
            action: "key.test".to_owned(),
            kind: "key".to_owned(),
            id: id.to_owned(),
            before: None,
            after: Some(json!({ "ok": ok })),
        };
        // A test changes nothing: its answer is worth having while the store is away.
        if let Err(refusal) = registry::note(gateway, entry).await {
            tracing::warn!(?refusal, "a test could not be written to the audit trail");
        }
        Ok(Answer::new(200, answer))
    }
    .boxed_local()
}
