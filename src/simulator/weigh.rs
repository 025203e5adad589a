//! Estimates tokens (about four bytes each) and remembers prompt prefixes, as the prompt cache does.
//!
//! A prompt is weighed in the order of the cache: tools, system, messages. Each `cache_control` ends a prefix; the
//! longest prefix seen before in the organization is read, what follows up to the last mark is written.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::Value;

const HOUR: Duration = Duration::from_secs(3_600);
const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// A prompt's weight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// All its tokens.
    pub tokens: u64,
    /// Its cacheable prefixes, shortest first.
    pub prefixes: Vec<Prefix>,
}

/// A prefix that ends at a `cache_control`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Its tokens.
    pub tokens: u64,
    /// Its content.
    pub digest: u64,
    /// How long it is kept.
    pub hour: bool,
}

/// Weighs the prompt of a request.
pub fn weigh(request: &Value) -> Prompt {
    let mut scale = Scale { bytes: 12, hasher: DefaultHasher::new(), prefixes: Vec::new() };
    request["model"].as_str().hash(&mut scale.hasher);
    scale.parts(&request["tools"]);
    scale.parts(&request["system"]);
    for message in request["messages"].as_array().into_iter().flatten() {
        message["role"].as_str().hash(&mut scale.hasher);
        scale.bytes += 16;
        scale.parts(&message["content"]);
    }
    if request["cache_control"].is_object() {
        scale.mark(&request["cache_control"]);
    }
    Prompt { tokens: scale.tokens(), prefixes: scale.prefixes }
}

/// About how many tokens a text of so many bytes has.
pub fn tokens_of_bytes(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

struct Scale {
    bytes: u64,
    hasher: DefaultHasher,
    prefixes: Vec<Prefix>,
}

impl Scale {
    fn tokens(&self) -> u64 {
        self.bytes.div_ceil(4)
    }

    fn parts(&mut self, value: &Value) {
        match value {
            Value::Array(parts) => {
                for part in parts {
                    self.absorb(part);
                    if part["cache_control"].is_object() {
                        self.mark(&part["cache_control"]);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                self.absorb(value);
            }
        }
    }

    fn mark(&mut self, control: &Value) {
        let hour = control["ttl"] == "1h";
        self.prefixes.push(Prefix { tokens: self.tokens(), digest: self.hasher.finish(), hour });
    }

    fn absorb(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(flag) => flag.hash(&mut self.hasher),
            Value::Number(number) => {
                number.to_string().hash(&mut self.hasher);
                self.bytes += 2;
            }
            Value::String(text) => {
                text.hash(&mut self.hasher);
                self.bytes += text.len() as u64;
            }
            Value::Array(items) => items.iter().for_each(|item| self.absorb(item)),
            Value::Object(fields) => {
                let source = fields
                    .get("source")
                    .filter(|source| source["type"] == "base64" || source["url"].is_string());
                if let Some(source) = source {
                    source.to_string().hash(&mut self.hasher);
                    self.bytes += media_bytes(&fields["type"], source);
                    return;
                }
                for (name, field) in fields.iter().filter(|(name, _)| *name != "cache_control") {
                    name.hash(&mut self.hasher);
                    self.bytes += if name == "type" { 0 } else { name.len() as u64 / 2 };
                    self.absorb(field);
                }
            }
        }
    }
}

/// What an image or a PDF weighs: 85 to 1,600 tokens an image, about one token per 12 bytes of PDF.
fn media_bytes(kind: &Value, source: &Value) -> u64 {
    let decoded = source["data"].as_str().map_or(60_000, |data| data.len() as u64 * 3 / 4);
    let tokens =
        if kind == "image" { (decoded / 100).clamp(85, 1_600) } else { (decoded / 12).clamp(100, 400_000) };
    tokens * 4
}

/// The prefixes an organization has sent lately.
#[derive(Debug, Default)]
pub struct PromptCache {
    kept: HashMap<u64, Duration>,
}

/// How a prompt's tokens divide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Neither read nor written.
    pub input: u64,
    /// Written for five minutes.
    pub written_5m: u64,
    /// Written for an hour.
    pub written_1h: u64,
    /// Read.
    pub read: u64,
}

impl PromptCache {
    /// Divides a prompt without remembering it.
    pub fn split(&self, prompt: &Prompt, minimum: u64, now: Duration) -> Split {
        let prefixes = prompt.prefixes.iter().filter(|prefix| prefix.tokens >= minimum);
        let known = |prefix: &&Prefix| self.kept.get(&prefix.digest).is_some_and(|until| *until > now);
        let read = prefixes.clone().filter(known).map(|prefix| prefix.tokens).max().unwrap_or(0);
        let (mut done, mut split) = (read, Split { read, ..Split::default() });
        for prefix in prefixes.filter(|prefix| prefix.tokens > read) {
            let fresh = prefix.tokens - done;
            *(if prefix.hour { &mut split.written_1h } else { &mut split.written_5m }) += fresh;
            done = prefix.tokens;
        }
        Split { input: prompt.tokens - done, ..split }
    }

    /// Remembers a prompt's prefixes, renewing those there are.
    pub fn remember(&mut self, prompt: &Prompt, minimum: u64, now: Duration) {
        if self.kept.len() > 10_000 {
            self.kept.retain(|_, until| *until > now);
        }
        for prefix in prompt.prefixes.iter().filter(|prefix| prefix.tokens >= minimum) {
            let until = now + if prefix.hour { HOUR } else { FIVE_MINUTES };
            self.kept.insert(prefix.digest, until);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn four_bytes_are_about_a_token() {
        let prompt = |bytes: usize| {
            weigh(&json!({"messages": [{"role": "user", "content": "x".repeat(bytes)}]})).tokens
        };
        assert_eq!(prompt(4_000) - prompt(0), 1_000);
    }

    #[test]
    fn an_image_counts_within_bounds() {
        let image = |size: usize| {
            let source = json!({"type": "base64", "media_type": "image/png", "data": "A".repeat(size)});
            weigh(&json!({"messages": [{"role": "user", "content": [{"type": "image", "source": source}]}]}))
                .tokens
        };
        assert!((85..120).contains(&image(16)), "{}", image(16));
        assert!((1_600..1_640).contains(&image(5_000_000)), "{}", image(5_000_000));
    }

    #[test]
    fn a_repeated_prefix_is_written_once_and_then_read() {
        let request = |question: &str| {
            let system =
                json!([{"type": "text", "text": "s".repeat(8_000), "cache_control": {"type": "ephemeral"}}]);
            weigh(
                &json!({"model": "m", "system": system, "messages": [{"role": "user", "content": question}]}),
            )
        };
        let (mut cache, at) = (PromptCache::default(), Duration::from_secs);
        let first = cache.split(&request("one"), 1_024, at(0));
        assert!(first.written_5m > 2_000 && first.read == 0, "{first:?}");
        cache.remember(&request("one"), 1_024, at(0));
        let second = cache.split(&request("two"), 1_024, at(1));
        assert_eq!((second.read, second.written_5m, second.input), (first.written_5m, 0, first.input));
        assert_eq!(cache.split(&request("two"), 1_024, at(301)).read, 0);
    }
}
