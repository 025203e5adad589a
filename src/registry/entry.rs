//! `Entry`: one stored resource with its secrets opened, and as it is shown.

use std::collections::BTreeMap;

use headgate_providers::Secret;
use serde_json::{Map, Value, json};

use crate::config::Laid;
use crate::store::{Resource, SealedField};
use crate::vault::Vault;

/// A stored resource in memory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// As stored.
    pub resource: Resource,
    /// Its secrets, opened; empty where one does not open.
    pub secrets: BTreeMap<String, Secret>,
    /// Why its secrets do not open.
    pub sealed_shut: Option<String>,
}

impl Entry {
    /// Opens the secrets of `resource`.
    #[must_use]
    pub fn open(resource: Resource, vault: Option<&Vault>) -> Self {
        let mut secrets = BTreeMap::new();
        let mut sealed_shut = None;
        for SealedField { field, sealed, .. } in &resource.sealed {
            let opened = match vault {
                None => Err("its secret cannot be opened: store.master_key is not set".to_owned()),
                Some(vault) => vault
                    .open(&resource.row, field, sealed)
                    .map_err(|error| format!("its secret cannot be opened: {error}")),
            };
            match opened {
                Ok(secret) => {
                    secrets.insert(field.clone(), secret);
                }
                Err(text) => sealed_shut = Some(text),
            }
        }
        if sealed_shut.is_some() {
            secrets.clear();
        }
        Self { resource, secrets, sealed_shut }
    }

    /// As it is laid over the files.
    #[must_use]
    pub fn laid(&self) -> Laid {
        let (kind, id) = (self.resource.kind, self.resource.id.clone());
        Laid { kind, id, body: self.resource.body.clone(), secrets: self.secrets.clone() }
    }

    /// As the audit trail and answers show it: fingerprints for secrets and digests.
    #[must_use]
    pub fn shown(&self) -> Value {
        let mut shown = match &self.resource.body {
            Value::Object(body) => body.clone(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Map::new()
            }
        };
        for digest in ["key_sha256", "token_sha256"] {
            if let Some(Value::String(text)) = shown.remove(digest) {
                shown.insert("fingerprint".to_owned(), json!(text.get(..12)));
            }
        }
        for field in &self.resource.sealed {
            shown.insert(
                field.field.clone(),
                json!({ "fingerprint": field.fingerprint, "last4": field.last4 }),
            );
        }
        Value::Object(shown)
    }
}
