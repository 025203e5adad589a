//! Idempotency keys: a creation that is repeated is answered as it was, not done again.
//!
//! What is kept is which resource was made and, sealed, the key that was shown with it; the rest of the answer is the resource as it
//! is now.

use headgate_providers::Secret;

use super::problem::Problem;
use super::resources::{located, secret_name};
use super::{Answer, Asked, shown};
use crate::config::Kind;
use crate::registry::{Refusal, answer};
use crate::store::NewAnswer;
use crate::vault::Vault;

/// What to keep of the answer, where the request has a key.
pub fn keep(asked: &Asked<'_>, id: &str, minted: Option<&Secret>) -> Option<NewAnswer> {
    let key = asked.idempotency.clone()?;
    let vault = Vault::of(&asked.gateway.settings().store);
    let body = answer::kept(vault.as_ref(), &key, id, minted);
    let (actor, request_digest) = (asked.operator.name.clone(), asked.digest);
    Some(NewAnswer { actor, key, request_digest, status: 201, body, etag: None })
}

/// The answer to a repeat.
pub async fn kept(asked: &Asked<'_>, kind: Kind) -> Result<Option<Answer>, Problem> {
    let (Some(key), Some(store)) = (&asked.idempotency, asked.gateway.registry.store()) else {
        return Ok(None);
    };
    let now = asked.gateway.clock.wall();
    let known = store.idempotent(&asked.operator.name, key, now).await.map_err(Refusal::from)?;
    let Some(known) = known.map(|known| known.answer) else { return Ok(None) };
    if known.request_digest != asked.digest {
        return Err(Problem::another_request());
    }
    let vault = Vault::of(&asked.gateway.settings().store);
    let (id, minted) = answer::opened(vault.as_ref(), key, &known.body);
    let id = id.as_str();
    let view = asked.gateway.registry.view(asked.gateway);
    if view.entry(kind, id).is_none() {
        return Err(Problem::conflict(format!("The {} `{id}` was made and is gone again.", kind.name())));
    }
    let mut body = shown::after(asked.gateway, &view, kind, id, false);
    if let Some(secret) = minted {
        body[secret_name(kind)] = secret.expose().into();
    }
    let etag = body["revision"].as_u64().map(|revision| format!("\"{revision}\""));
    let answer = Answer::Json { status: known.status, body, etag, location: None, replayed: true };
    Ok(Some(located(kind, id, answer)))
}
