//! A key's credential as the API takes it, from what an operator gives: a plain secret, or a JSON document of AWS or Google.

use std::fmt;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Which field a plain secret belongs into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plain {
    /// `secret`: an API key.
    #[default]
    Secret,
    /// `bearer_token`: an API key of Bedrock.
    BearerToken,
}

/// The credential's fields of a key's body; `Debug` shows their names only.
#[derive(Clone, PartialEq)]
pub struct Credential(Map<String, Value>);

/// What AWS's own tools call the fields, and what the API calls them.
const AWS_FIELDS: [(&str, &str); 3] = [
    ("AccessKeyId", "access_key_id"),
    ("SecretAccessKey", "secret_access_key"),
    ("SessionToken", "session_token"),
];

impl Credential {
    /// The platform's own chain: nothing is stored.
    #[must_use]
    pub fn chain() -> Self {
        Self(Map::from_iter([("credential_chain".to_owned(), "default".into())]))
    }

    /// A plain secret, trimmed; a JSON object is a credential of AWS or Google.
    ///
    /// # Errors
    /// What is wrong with it, without a part of it.
    pub fn of_text(text: &str, plain: Plain) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with('{') {
            return Self::of_document(text);
        }
        let field = match plain {
            Plain::Secret => "secret",
            Plain::BearerToken => "bearer_token",
        };
        Ok(Self(Map::from_iter([(field.to_owned(), sound(text)?.into())])))
    }

    /// An AWS key from its parts.
    ///
    /// # Errors
    /// As [`Credential::of_text`].
    pub fn of_aws(id: &str, secret: &str, session: Option<&str>) -> Result<Self, String> {
        let mut fields = Map::new();
        fields.insert("access_key_id".to_owned(), sound(id)?.into());
        fields.insert("secret_access_key".to_owned(), sound(secret)?.into());
        if let Some(session) = session {
            fields.insert("session_token".to_owned(), sound(session)?.into());
        }
        Ok(Self(fields))
    }

    /// A credential file of Google, of whatever kind, or what AWS's tools print.
    ///
    /// # Errors
    /// A text that is neither.
    pub fn of_document(text: &str) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}').trim();
        let unknown = "is JSON, but neither a Google credential file nor an AWS key";
        // The parser's own words may quote the document.
        let document: Value =
            serde_json::from_str(text).map_err(|_| "begins like JSON, but is none".to_owned())?;
        if document.get("type").is_some_and(Value::is_string) {
            return Ok(Self(Map::from_iter([("service_account".to_owned(), text.into())])));
        }
        let inner = document.get("AccessKey").or_else(|| document.get("Credentials")).unwrap_or(&document);
        let part = |(theirs, ours): (&str, &str)| {
            inner.get(ours).or_else(|| inner.get(theirs)).and_then(Value::as_str)
        };
        let [id, secret, session] = AWS_FIELDS.map(part);
        Self::of_aws(id.ok_or(unknown)?, secret.ok_or(unknown)?, session)
    }

    /// The fields, to go into a body.
    #[must_use]
    pub fn into_fields(self) -> Map<String, Value> {
        self.0
    }

    /// The first eight hex digits of its SHA-256: a name for what has none.
    #[must_use]
    pub fn short_digest(&self) -> String {
        let text: String = self.0.values().filter_map(Value::as_str).collect();
        let digest = Sha256::digest(text.as_bytes());
        digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// `text` without the space around it; within it nothing may be that no credential has.
fn sound(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return Err("holds a space or a control character, which no credential has".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(text: &str) -> Value {
        Value::Object(Credential::of_text(text, Plain::Secret).unwrap().into_fields())
    }

    #[test]
    fn a_plain_secret_is_trimmed() {
        assert_eq!(fields("\u{feff} sk-ant-1\r\n"), json!({ "secret": "sk-ant-1" }));
        let bearer = Credential::of_text("ABSK==", Plain::BearerToken).unwrap();
        assert_eq!(bearer.into_fields()["bearer_token"], "ABSK==");
    }

    #[test]
    fn documents_of_aws_and_google_are_known() {
        let aws = json!({ "access_key_id": "AKIA1", "secret_access_key": "s" });
        assert_eq!(fields(r#"{"access_key_id":"AKIA1","secret_access_key":"s"}"#), aws);
        assert_eq!(
            fields(r#"{"AccessKey":{"UserName":"u","AccessKeyId":"AKIA1","SecretAccessKey":"s"}}"#),
            aws
        );
        let session =
            fields(r#"{"Credentials":{"AccessKeyId":"ASIA1","SecretAccessKey":"s","SessionToken":"t"}}"#);
        assert_eq!(session["session_token"], "t");
        let google = r#"{"type":"service_account","private_key":"-----BEGIN"}"#;
        assert_eq!(fields(google), json!({ "service_account": google }));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for wrong in [
            "",
            "  ",
            "canary canary",
            "canary\u{7f}x",
            "{\"canary\"",
            "{\"canary\":1}",
            "{\"access_key_id\":\"canary\"}",
        ] {
            let said = Credential::of_text(wrong, Plain::Secret).unwrap_err();
            assert!(!said.contains("canary"), "{said}");
        }
        let debug = format!("{:?}", Credential::of_text("canary", Plain::Secret).unwrap());
        assert_eq!(debug, "{\"secret\"}");
    }
}
