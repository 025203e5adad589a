//! Idempotency keys: a creation that is repeated is answered as it was, not done again.
//!
//! What is kept is which resource was made and, sealed, the key that was shown with it; the rest of the answer is the resource as it
//! is now.

use headgate_providers::Secret;
use serde_json::{Value, json};

use super::problem::Problem;
use super::resources::{located, secret_name};
use super::{Answer, Asked, shown};
use crate::config::Kind;
use crate::registry::Refusal;
use crate::store::NewAnswer;
use crate::vault::{Sealed, Vault};

/// What sealed answers are bound to, with the idempotency key.
const ROW: &str = "idempotency";

/// What to keep of the answer, where the request has a key.
pub fn keep(asked: &Asked<'_>, id: &str, minted: Option<&Secret>) -> Option<NewAnswer> {
    let key = asked.idempotency.clone()?;
    let vault = Vault::of(&asked.gateway.settings().store);
    let sealed = minted.zip(vault).map(|(secret, vault)| hex(&vault.seal(ROW, &key, secret).to_bytes()));
    Some(NewAnswer {
        actor: asked.operator.name.clone(),
        key,
        request_digest: asked.digest,
        status: 201,
        body: json!({ "id": id, "sealed": sealed }).to_string().into_bytes(),
        etag: None,
    })
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
    let kept: Value = serde_json::from_slice(&known.body).unwrap_or_default();
    let id = kept["id"].as_str().unwrap_or_default();
    let view = asked.gateway.registry.view(asked.gateway);
    if view.entry(kind, id).is_none() {
        return Err(Problem::conflict(format!("The {} `{id}` was made and is gone again.", kind.name())));
    }
    let mut body = shown::after(asked.gateway, &view, kind, id, false);
    let sealed = kept["sealed"].as_str().and_then(unhex).and_then(|bytes| Sealed::from_bytes(&bytes));
    if let (Some(sealed), Some(vault)) = (sealed, Vault::of(&asked.gateway.settings().store))
        && let Ok(secret) = vault.open(ROW, key, &sealed)
    {
        body[secret_name(kind)] = secret.expose().into();
    }
    let etag = body["revision"].as_u64().map(|revision| format!("\"{revision}\""));
    let answer = Answer::Json { status: known.status, body, etag, location: None, replayed: true };
    Ok(Some(located(kind, id, answer)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
