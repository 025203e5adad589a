//! What an earlier master key sealed, sealed anew, so that this key can go.

use super::{Refusal, answer, load_in_turn};
use crate::gateway::Gateway;
use crate::store::{Resealed, Resource, SealedField};
use crate::vault::Vault;

/// Sealed anew within one transaction.
const RESEAL_BATCH: usize = 100;

/// Seals every secret that an earlier master key sealed with the newest, and tells how many.
///
/// # Errors
/// [`Refusal::NoMasterKey`], or the store does not take it; what is done until then stays done.
pub async fn reseal(gateway: &Gateway) -> Result<u64, Refusal> {
    let _turn = gateway.reloads.turn().await;
    let store =
        gateway.registry.store().ok_or_else(|| Refusal::Unavailable("there is no store".to_owned()))?;
    let vault = Vault::of(&gateway.settings().store).ok_or(Refusal::NoMasterKey)?;
    let view = gateway.registry.view(gateway);
    let mut old = Vec::new();
    for entry in view.entries.values() {
        let Resource { row, sealed, .. } = &entry.resource;
        for SealedField { field, sealed, .. } in
            sealed.iter().filter(|field| !vault.is_current(&field.sealed))
        {
            if let Some(secret) = entry.secrets.get(field) {
                let (row, field, old_text) = (row.clone(), field.clone(), sealed.clone());
                let new = vault.seal(&row, &field, secret);
                old.push(Resealed { row, field, old: old_text, new });
            }
        }
    }
    let mut written = 0;
    for batch in old.chunks(RESEAL_BATCH) {
        written += store.reseal(batch.to_vec()).await?;
    }
    load_in_turn(gateway).await?;
    // Those kept for a repeat too, so that an earlier master key can go.
    let answers = store.answers().await?.into_iter();
    let old: Vec<_> = answers
        .filter_map(|(key, body)| {
            let new = answer::resealed(&vault, &key, &body)?;
            Some((key, body, new))
        })
        .collect();
    for batch in old.chunks(RESEAL_BATCH) {
        written += store.replace_answers(batch.to_vec()).await?;
    }
    Ok(written)
}
