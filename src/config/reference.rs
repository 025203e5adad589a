//! Secret references: `env:NAME`, `file:PATH`, `value:TEXT`, and plain text where an option allows it.
//!
//! A reference prints as its source, never as what it holds, and resolves once, when the configuration is checked.

use std::collections::BTreeMap;
use std::fmt;

use headgate_providers::Secret;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use super::environment::Environment;

/// What the options that hold references expect.
pub const EXPECTED: &str = "a reference: env:NAME, file:PATH or value:TEXT";

/// Where a text comes from.
#[derive(Clone)]
pub enum Reference {
    /// `env:NAME`: a variable; `env:NAME[2]`: the third of the comma-separated texts it holds.
    Env(String, Option<usize>),
    /// `file:PATH`: a file's text.
    File(String),
    /// `value:TEXT`: written out in the configuration.
    Value(Secret),
    /// `stored:KIND/ID/FIELD`: a secret of the store's, which only the overlay may name.
    Stored(String),
    /// Text without a prefix.
    Plain(Secret),
}

/// Why a reference gives nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The variable is not set or the file does not exist.
    Unset(String),
    /// Anything else.
    Broken(String),
}

impl Reference {
    /// Reads a reference as written.
    pub fn parse(text: &str) -> Self {
        if let Some(name) = text.strip_prefix("env:") {
            let item = name.strip_suffix(']').and_then(|head| head.split_once('['));
            match item.and_then(|(name, index)| Some((name, index.parse().ok()?))) {
                Some((name, index)) => Self::Env(name.to_owned(), Some(index)),
                None => Self::Env(name.to_owned(), None),
            }
        } else if let Some(path) = text.strip_prefix("file:") {
            Self::File(path.to_owned())
        } else if let Some(value) = text.strip_prefix("value:") {
            Self::Value(Secret::new(value.to_owned()))
        } else if let Some(name) = text.strip_prefix("stored:") {
            Self::Stored(name.to_owned())
        } else {
            Self::Plain(Secret::new(text.to_owned()))
        }
    }

    /// The text it stands for, with blanks, newlines and carriage returns around it removed.
    pub fn resolve(
        &self,
        env: &Environment,
        stored: &BTreeMap<String, Secret>,
    ) -> Result<Secret, Unresolved> {
        if let Self::Env(name, _) = self
            && !is_variable(name)
        {
            let text =
                "env: is followed by something that is no variable's name, expected letters, digits and _";
            return Err(Unresolved::Broken(text.to_owned()));
        }
        let text = match self {
            Self::Env(name, None) => env.get(name).map(str::to_owned),
            Self::Env(name, Some(index)) => {
                let item = env.get(name).and_then(|list| list.split(',').nth(*index));
                item.filter(|item| !item.trim().is_empty()).map(str::to_owned)
            }
            Self::File(path) => return read(path),
            Self::Stored(name) => stored.get(name).map(|secret| secret.expose().to_owned()),
            Self::Value(secret) | Self::Plain(secret) => Some(secret.expose().to_owned()),
        };
        let text = text.ok_or_else(|| Unresolved::Unset(format!("{self} is not set")))?;
        Ok(trimmed(text))
    }
}

fn read(path: &str) -> Result<Secret, Unresolved> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(trimmed(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Unresolved::Unset(format!("file:{path} does not exist")))
        }
        Err(error) => Err(Unresolved::Broken(format!("file:{path} cannot be read: {error}"))),
    }
}

/// Whether `name` can be a variable; a secret written after `env:` by mistake rarely can, and is then never shown.
fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Wipes the untrimmed copy.
fn trimmed(text: String) -> Secret {
    let whole = Secret::new(text);
    Secret::new(
        whole.expose().trim_matches(|symbol: char| symbol.is_whitespace() || symbol == '\u{feff}').to_owned(),
    )
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name, _) if !is_variable(name) => f.write_str("env:[redacted]"),
            Self::Env(name, None) => write!(f, "env:{name}"),
            Self::Env(name, Some(index)) => write!(f, "env:{name}[{index}]"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Stored(name) => write!(f, "stored:{name}"),
            Self::Value(_) => f.write_str("value:[redacted]"),
            Self::Plain(text) => f.write_str(&redacted_url(text.expose())),
        }
    }
}

/// A plain text as it may be shown: a URL without credentials and query, SQLite's word for no file, anything else not at all.
fn redacted_url(text: &str) -> String {
    if text == super::IN_MEMORY {
        return text.to_owned();
    }
    let Some((scheme, rest)) = text.split_once("://") else { return "[redacted]".to_owned() };
    let (rest, query) = rest.split_once(['?', '#']).map_or((rest, ""), |(rest, _)| (rest, "?[redacted]"));
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://[redacted]@{host}{path}{query}"),
        None if path.contains('@') => format!("{scheme}://[redacted]"),
        None => format!("{scheme}://{authority}{path}{query}"),
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Reference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E>(self, text: &str) -> Result<Reference, E> {
                Ok(Reference::parse(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl utoipa::PartialSchema for Reference {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        String::schema()
    }
}

impl utoipa::ToSchema for Reference {}
