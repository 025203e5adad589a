//! What an operator sends of a resource, taken apart: its identity, its options as a file would hold them, its secrets.

use std::collections::BTreeMap;

use headgate_providers::Secret;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::problem::Problem;
use crate::config::Kind;

/// Options of a key that are secrets.
const KEY_SECRETS: [&str; 6] =
    ["secret", "bearer_token", "access_key_id", "secret_access_key", "session_token", "service_account"];
/// How references of files begin.
const REFERENCES: [&str; 4] = ["env:", "file:", "value:", "stored:"];
/// The role of a token that is given none.
pub const LEAST_ROLE: &str = "viewer";
/// Longest secret, bytes.
const MAX_SECRET: usize = 16 << 10;

/// The parts.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// The options.
    pub body: Map<String, Value>,
    /// The secrets by option; `None` takes one away.
    pub secrets: BTreeMap<String, Option<Secret>>,
    /// Whether the headers given are all there shall be.
    pub no_headers: bool,
    /// Whether a key begins, or is to be, switched on.
    pub enabled: Option<bool>,
    /// Where a route stands.
    pub position: Option<i64>,
    /// The key or token a caller brings along.
    pub own: Option<Secret>,
}

impl Parts {
    /// Takes `fields` apart.
    pub fn of(kind: Kind, mut fields: Map<String, Value>) -> Result<Self, Problem> {
        let mut parts = Self::default();
        let refused: &[&str] = match kind {
            Kind::Backend => &["keys", "limit_groups", "ca_file"],
            Kind::Tenant => &["key_sha256"],
            Kind::Token => &["token_sha256"],
            Kind::Group | Kind::Key | Kind::Route => &[],
        };
        if let Some(name) = refused.iter().find(|name| fields.contains_key(**name)) {
            return Err(Problem::field(name, "is not a field of this request"));
        }
        match kind {
            Kind::Backend => parts.take_backend(&mut fields)?,
            Kind::Key => parts.take_key(&mut fields)?,
            Kind::Route => {
                parts.position = match fields.remove("position") {
                    None | Some(Value::Null) => None,
                    Some(value) => {
                        let number = value.as_i64().filter(|number| (0..=1_000_000).contains(number));
                        let wrong =
                            || Problem::field("position", "expected a whole number from 0 to 1000000");
                        Some(number.ok_or_else(wrong)?)
                    }
                };
            }
            Kind::Tenant => {
                parts.own =
                    fields.remove("key").and_then(|value| own("key", value).transpose()).transpose()?
            }
            Kind::Token => {
                // Without a role a token of the files is an administrator's; one that is made here has the least.
                if fields.get("role").is_some_and(Value::is_null) {
                    fields.insert("role".to_owned(), json!(LEAST_ROLE));
                }
                parts.own =
                    fields.remove("token").and_then(|value| own("token", value).transpose()).transpose()?;
            }
            Kind::Group => {}
        }
        parts.body = fields;
        Ok(parts)
    }

    fn take_backend(&mut self, fields: &mut Map<String, Value>) -> Result<(), Problem> {
        if let Some(value) = fields.remove("proxy") {
            self.secrets.insert("proxy".to_owned(), secret("proxy", value)?);
        }
        match fields.remove("headers") {
            None => {}
            Some(Value::Null) => self.no_headers = true,
            Some(Value::Object(headers)) => {
                for (name, value) in headers {
                    let path = format!("headers.{name}");
                    let value = secret(&path, value)?;
                    self.secrets.insert(path, value);
                }
            }
            Some(_) => return Err(Problem::field("headers", "expected an object of texts")),
        }
        Ok(())
    }

    fn take_key(&mut self, fields: &mut Map<String, Value>) -> Result<(), Problem> {
        for name in KEY_SECRETS {
            let Some(value) = fields.remove(name) else { continue };
            let document = name == "service_account" && value.is_object();
            let value = if document { json!(value.to_string()) } else { value };
            self.secrets.insert(name.to_owned(), secret(name, value)?);
        }
        if let Some(group) = fields.remove("group") {
            if fields.contains_key("limit_group") {
                return Err(Problem::field(
                    "group",
                    "is another name of limit_group, expected one of the two",
                ));
            }
            fields.insert("limit_group".to_owned(), group);
        }
        self.enabled = match fields.remove("enabled") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(enabled)) => Some(enabled),
            Some(_) => return Err(Problem::field("enabled", "expected true or false")),
        };
        Ok(())
    }

    /// The secrets that are there, for something new.
    pub fn given(&self) -> BTreeMap<String, Secret> {
        self.secrets.iter().filter_map(|(name, secret)| Some((name.clone(), secret.clone()?))).collect()
    }

    /// Lays them over what is there: null takes away, tables are merged (RFC 7396).
    pub fn over(
        &self,
        body: &Value,
        secrets: &BTreeMap<String, Secret>,
    ) -> (Value, BTreeMap<String, Secret>) {
        let mut body = body.clone();
        merge(&mut body, &Value::Object(self.body.clone()));
        let mut secrets = secrets.clone();
        if self.no_headers {
            secrets.retain(|name, _| !name.starts_with("headers."));
        }
        for (name, secret) in &self.secrets {
            match secret {
                Some(secret) => secrets.insert(name.clone(), secret.clone()),
                None => secrets.remove(name),
            };
        }
        (body, secrets)
    }

    /// The same with another credential in place of all there was.
    pub fn in_place_of(&self, body: &Value) -> (Value, BTreeMap<String, Secret>) {
        let mut body = body.clone();
        if let Some(table) = body.as_object_mut() {
            table.remove("credential_chain");
        }
        merge(&mut body, &Value::Object(self.body.clone()));
        (body, self.given())
    }
}

/// Without the nulls: an option that is not there.
pub fn without_nulls(body: Map<String, Value>) -> Map<String, Value> {
    body.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

/// SHA-256 as the store keeps it.
pub fn digest(secret: &Secret) -> String {
    Sha256::digest(secret.expose()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Some(table) = into.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            table.remove(name);
        } else {
            merge(table.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

fn secret(path: &str, value: Value) -> Result<Option<Secret>, Problem> {
    if value.is_null() {
        return Ok(None);
    }
    let Value::String(text) = value else {
        return Err(Problem::field(path, "expected a text"));
    };
    let text = Secret::new(text);
    if text.expose().len() > MAX_SECRET {
        return Err(Problem::field(path, format!("expected a text of at most {MAX_SECRET} bytes")));
    }
    let trimmed = text.expose().trim_matches(|symbol: char| symbol.is_whitespace() || symbol == '\u{feff}');
    if trimmed.is_empty() {
        return Err(Problem::field(path, "is empty"));
    }
    // Stored as it stands it would fail upstream, hours later; no real secret begins like that.
    if let Some(scheme) = REFERENCES.iter().find(|scheme| trimmed.starts_with(**scheme)) {
        let text =
            format!("is a reference ({scheme}...), expected the secret itself: references belong to files");
        return Err(Problem::field(path, text));
    }
    Ok(Some(Secret::new(trimmed.to_owned())))
}

/// A key or token of the caller's own choice.
fn own(name: &str, value: Value) -> Result<Option<Secret>, Problem> {
    let Some(secret) = secret(name, value)? else { return Ok(None) };
    let text = secret.expose();
    if text.len() < 20 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Problem::field(
            name,
            "expected at least 20 visible ASCII characters, best left out to have one made",
        ));
    }
    Ok(Some(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(kind: Kind, fields: Value) -> Result<Parts, Problem> {
        Parts::of(kind, fields.as_object().unwrap().clone())
    }

    #[test]
    fn secrets_leave_the_body_trimmed_and_null_takes_them_away() {
        let given = json!({ "secret": " sk-1\r\n", "weight": 2, "group": "g", "session_token": null });
        let parts = parts(Kind::Key, given).unwrap();
        assert_eq!(Value::Object(parts.body.clone()), json!({ "weight": 2, "limit_group": "g" }));
        assert_eq!(parts.given()["secret"].expose(), "sk-1");
        let old = BTreeMap::from([("session_token".to_owned(), Secret::new("t".to_owned()))]);
        let (body, secrets) = parts.over(&json!({ "name": "k", "weight": 1 }), &old);
        assert_eq!(body, json!({ "name": "k", "weight": 2, "limit_group": "g" }));
        assert_eq!(secrets.keys().collect::<Vec<_>>(), ["secret"]);
    }

    #[test]
    fn headers_are_secrets_each_by_itself() {
        let patch = parts(Kind::Backend, json!({ "headers": { "x-a": "1", "x-b": null } })).unwrap();
        let old = ["headers.x-b", "headers.x-c", "proxy"]
            .map(|name| (name.to_owned(), Secret::new("o".to_owned())));
        let (_, secrets) = patch.over(&json!({}), &BTreeMap::from(old.clone()));
        assert_eq!(secrets.keys().collect::<Vec<_>>(), ["headers.x-a", "headers.x-c", "proxy"]);
        let none = parts(Kind::Backend, json!({ "headers": null })).unwrap();
        assert_eq!(none.over(&json!({}), &BTreeMap::from(old)).1.len(), 1);
    }

    #[test]
    fn what_belongs_to_files_is_refused() {
        for (kind, name) in
            [(Kind::Backend, "ca_file"), (Kind::Backend, "keys"), (Kind::Tenant, "key_sha256")]
        {
            assert!(parts(kind, json!({ name: "x" })).is_err(), "{name}");
        }
        for wrong in [json!({ "secret": 1 }), json!({ "secret": " " }), json!({ "enabled": "yes" })] {
            assert!(parts(Kind::Key, wrong).is_err());
        }
        for reference in ["env:NAME", " file:/run/key", "value:sk", "stored:key/a/secret"] {
            assert!(parts(Kind::Key, json!({ "secret": reference })).is_err(), "{reference}");
        }
    }
}
