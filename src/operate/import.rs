//! Keys by the hundred: from a file of lines, a JSON document, or variables, to bodies of `POST /keys/import`.
//!
//! A secret without a name is named by its digest, so that the same file names it the same the next time. Mistakes name the line
//! or the variable, never what stands there.

use serde_json::{Map, Value, json};

use super::credential::{Credential, Plain};
use crate::config::Environment;

/// Most keys of one request.
pub const MOST_KEYS: usize = 1000;
/// Most bytes of one request.
const MOST_BYTES: usize = 768 << 10;
/// A text this long before a last `=` is the secret itself: base64 ends so.
const NO_NAME: usize = 32;

/// What every key of an import shares.
#[derive(Debug, Default)]
pub struct Shared {
    /// The backend.
    pub backend: Option<String>,
    /// The limit group.
    pub group: Option<String>,
    /// The weight.
    pub weight: Option<f64>,
    /// What plain secrets are.
    pub plain: Plain,
}

/// Keys read so far.
struct Keys<'a> {
    shared: &'a Shared,
    found: Vec<(String, Map<String, Value>)>,
}

impl Keys<'_> {
    /// Takes a key that stands at `place`; without a name it gets one.
    fn add(&mut self, place: String, name: Option<&str>, credential: Credential) -> Result<(), String> {
        let prefix = || self.shared.backend.as_deref().unwrap_or("key");
        let name = name.map_or_else(|| format!("{}-{}", prefix(), credential.short_digest()), str::to_owned);
        let mut body = credential.into_fields();
        body.insert("name".to_owned(), name.into());
        self.push(place, body)
    }

    /// Takes a body; what it leaves out is the shared value's.
    fn push(&mut self, place: String, mut body: Map<String, Value>) -> Result<(), String> {
        let shared = self.shared;
        if let (Some(backend), false) = (&shared.backend, body.contains_key("backend")) {
            body.insert("backend".to_owned(), json!(backend));
        }
        let grouped = body.contains_key("limit_group") || body.contains_key("group");
        if let (Some(group), false) = (&shared.group, grouped) {
            body.insert("limit_group".to_owned(), json!(group));
        }
        if let (Some(weight), false) = (shared.weight, body.contains_key("weight")) {
            body.insert("weight".to_owned(), json!(weight));
        }
        if !body.contains_key("backend") {
            return Err(format!("{place}: the key has no backend; give --backend"));
        }
        let same = self.found.iter().find(|(_, other)| other["name"] == body["name"]);
        match same {
            None => self.found.push((place, body)),
            Some((_, other)) if *other == body => {}
            Some((first, _)) => {
                return Err(format!("{place}: its name is that of {first}, but the key is another"));
            }
        }
        Ok(())
    }
}

/// Keys of a file: a JSON array or `{"keys": [...]}`, else lines `NAME=SECRET` or secrets alone.
///
/// # Errors
/// The first mistake, by its line.
pub fn of_file(text: &str, shared: &Shared) -> Result<Vec<Map<String, Value>>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut keys = Keys { shared, found: Vec::new() };
    if text.trim_start().starts_with(['[', '{']) {
        of_json(text, &mut keys)?;
    } else {
        for (at, line) in text.lines().enumerate() {
            of_line(&format!("line {}", at + 1), line.trim(), &mut keys)?;
        }
    }
    finish(keys, "there is no key in it")
}

/// Keys of variables: each of `names` is a variable, or what the names of several begin with. A value may be several secrets
/// with commas between them.
///
/// # Errors
/// A name that no variable has or begins with; a value that is no secret.
pub fn of_variables(
    names: &[String],
    environment: &Environment,
    shared: &Shared,
) -> Result<Vec<Map<String, Value>>, String> {
    let mut keys = Keys { shared, found: Vec::new() };
    for wanted in names {
        // Whoever gives a secret here by mistake must not read it in a log as well.
        if !wanted.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(
                "expected names of variables, of letters, digits and _; never a secret itself".to_owned()
            );
        }
        let exact = environment.get(wanted).map(|value| vec![(wanted.as_str(), value)]);
        let beginning = || environment.with_prefix(wanted).map(|(name, _, value)| (name, value)).collect();
        let found: Vec<(&str, &str)> = exact.unwrap_or_else(beginning);
        if wanted.is_empty() || found.is_empty() {
            return Err(format!("no variable is called `{wanted}` or begins so"));
        }
        for (name, value) in found {
            let secrets: Vec<&str> =
                value.split(',').map(str::trim).filter(|secret| !secret.is_empty()).collect();
            for secret in &secrets {
                let credential = Credential::of_text(secret, shared.plain)
                    .map_err(|what| format!("the variable {name} {what}"))?;
                let own = if secrets.len() == 1 {
                    name.to_owned()
                } else {
                    format!("{name}-{}", credential.short_digest())
                };
                keys.add(format!("the variable {name}"), Some(&own), credential)?;
            }
        }
    }
    finish(keys, "the variables hold no key")
}

fn finish(keys: Keys<'_>, none: &str) -> Result<Vec<Map<String, Value>>, String> {
    if keys.found.is_empty() {
        return Err(none.to_owned());
    }
    Ok(keys.found.into_iter().map(|(_, body)| body).collect())
}

fn of_json(text: &str, keys: &mut Keys<'_>) -> Result<(), String> {
    // The parser's own words may quote a secret; its place does not.
    let document: Value = serde_json::from_str(text)
        .map_err(|error| format!("line {}, column {}: is not JSON", error.line(), error.column()))?;
    let list = document.get("keys").unwrap_or(&document);
    let Value::Array(items) = list else {
        return Err("expected a JSON array of keys, or an object with `keys`".to_owned());
    };
    for (at, item) in items.iter().enumerate() {
        let place = format!("key {}", at + 1);
        if let Some(secret) = item.as_str() {
            let credential =
                Credential::of_text(secret, keys.shared.plain).map_err(|what| format!("{place} {what}"))?;
            keys.add(place, None, credential)?;
        } else if let Some(body) =
            item.as_object().filter(|body| body.get("name").is_some_and(Value::is_string))
        {
            keys.push(place, body.clone())?;
        } else {
            return Err(format!("{place}: expected a secret, or an object with a `name`"));
        }
    }
    Ok(())
}

fn of_line(place: &str, line: &str, keys: &mut Keys<'_>) -> Result<(), String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, secret) = match line.split_once('=') {
        Some((name, rest)) if is_name(name.trim()) => match rest.trim() {
            "" | "=" if name.len() >= NO_NAME => (None, line),
            rest => (Some(name.trim()), rest),
        },
        Some(_) | None => (None, line),
    };
    let secret = unquoted(secret).map_err(|what| format!("{place}: {what}"))?;
    let credential = Credential::of_text(secret, keys.shared.plain)
        .map_err(|what| format!("{place}: the secret {what}"))?;
    keys.add(place.to_owned(), name, credential)
}

/// As the configuration has it: what may be a key's name.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:@".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// Without the quotes around it, or without a comment behind it.
fn unquoted(text: &str) -> Result<&str, &'static str> {
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote) {
            let (inner, after) = rest.split_once(quote).ok_or("a quote is not closed")?;
            let after = after.trim();
            return if after.is_empty() || after.starts_with('#') {
                Ok(inner)
            } else {
                Err("something follows the quotes")
            };
        }
    }
    let comment = text.find(" #").or_else(|| text.find("\t#"));
    Ok(comment.map_or(text, |at| text[..at].trim_end()))
}

/// The bodies in requests that the API takes.
#[must_use]
pub fn requests(keys: Vec<Map<String, Value>>) -> Vec<Value> {
    let mut requests: Vec<Vec<Value>> = Vec::new();
    let mut bytes = 0;
    for key in keys {
        let key = Value::Object(key);
        let size = key.to_string().len();
        match requests.last_mut() {
            Some(request) if request.len() < MOST_KEYS && bytes + size <= MOST_BYTES => {
                request.push(key);
                bytes += size;
            }
            Some(_) | None => {
                requests.push(vec![key]);
                bytes = size;
            }
        }
    }
    requests.into_iter().map(|keys| json!({ "keys": keys })).collect()
}

#[cfg(test)]
mod tests;
