//! The one pass over a request body: is it JSON, and what do we need to know of it?
//!
//! Only what the gateway itself acts on is judged here; the rest is upstream's to judge. Error texts are in the style of the
//! Messages API (`field: what is wrong`), since callers see them as `invalid_request_error`. A key that is read here may stand
//! only once, however it is spelt: two readers that disagree on which one counts would bill one model and call another.

use std::fmt;
use std::ops::Range;

use super::Outline;
use crate::json::{Cursor, Flaw};

/// Top-level keys that may stand only once.
const ONCE: [&str; 10] = [
    "model",
    "stream",
    "max_tokens",
    "metadata",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "service_tier",
];

/// Why a body is refused: a text for the caller, naming the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanError(String);

impl ScanError {
    /// The text for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScanError {}

impl From<Flaw> for ScanError {
    fn from(flaw: Flaw) -> Self {
        Self(format!("The request body is not valid JSON: {} at byte {}", flaw.what, flaw.at))
    }
}

/// Where the parts of a body stand that a prompt cache is keyed by, in the order in which upstream renders them (Messages API,
/// "Prompt caching": tools, system, messages).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// The value of `tools`.
    pub tools: Option<Range<usize>>,
    /// The value of `system`.
    pub system: Option<Range<usize>>,
    /// The first entry of `messages`.
    pub first_turn: Option<Range<usize>>,
    /// How many entries `messages` has.
    pub turns: usize,
    /// Whether `"cache_control"` stands somewhere. A string value of that text counts too: this only ever states a preference.
    pub cache_control: bool,
}

/// Validates a whole body and reads its outline. Containers may nest `max_depth` deep, the body's own object included.
///
/// Non-integer or oversized `max_tokens` and a `user_id` that is no text are left to upstream (`None`).
///
/// # Errors
/// A body that is not one JSON object, a missing or wrong `model`, a wrong `stream`, a repeated key.
pub fn scan(body: &[u8], max_depth: usize) -> Result<Outline, ScanError> {
    read(body, max_depth)?.outline()
}

/// [`scan`], in the same pass telling what a conversation is known by.
///
/// # Errors
/// As [`scan`].
pub fn scan_with_prefix(body: &[u8], max_depth: usize) -> Result<(Outline, Prefix), ScanError> {
    let mut facts = read(body, max_depth)?;
    let mut prefix = std::mem::take(&mut facts.prefix);
    let outline = facts.outline()?;
    prefix.cache_control = memchr::memmem::find(body, b"\"cache_control\"").is_some();
    Ok((outline, prefix))
}

fn read(body: &[u8], max_depth: usize) -> Result<Facts, ScanError> {
    let mut cursor = Cursor::new(body, max_depth)?;
    if cursor.peek().is_some_and(|byte| byte != b'{') {
        cursor.value()?;
        cursor.finish()?;
        return Err(ScanError("The request body is not valid: Input should be an object".to_owned()));
    }
    let mut facts = Facts::default();
    let mut seen = 0;
    cursor.members(|cursor, key| {
        let name = cursor.name(key);
        let place = ONCE.iter().position(|once| *once.as_bytes() == *name);
        if let Some(place) = place {
            if seen & 1 << place != 0 {
                facts.complain(ONCE[place], REPEATED);
            }
            seen |= 1 << place;
        }
        facts.read(place.map(|place| ONCE[place]), cursor)
    })?;
    cursor.finish()?;
    Ok(facts)
}

const REPEATED: &str = "Field given more than once";

#[derive(Default)]
struct Facts {
    model: Option<(String, Range<usize>)>,
    stream: bool,
    max_tokens: Option<u64>,
    user_id: Option<String>,
    prefix: Prefix,
    /// The first thing wrong with a field; that a body is no JSON at all goes before it.
    complaint: Option<String>,
}

impl Facts {
    fn complain(&mut self, field: &str, what: &str) {
        self.complaint.get_or_insert_with(|| format!("{field}: {what}"));
    }

    fn outline(self) -> Result<Outline, ScanError> {
        if let Some(complaint) = self.complaint {
            return Err(ScanError(complaint));
        }
        let Some((model, model_span)) = self.model else {
            return Err(ScanError("model: Field required".to_owned()));
        };
        let Self { stream, max_tokens, user_id, .. } = self;
        Ok(Outline { model, model_span, stream, max_tokens, user_id })
    }

    /// Passes the value of `field`, keeping what is of interest.
    fn read(&mut self, field: Option<&str>, cursor: &mut Cursor<'_>) -> Result<(), Flaw> {
        match field {
            Some("model") => self.read_model(cursor),
            Some("metadata") if cursor.peek() == Some(b'{') => self.read_metadata(cursor),
            Some("stream") => {
                let span = cursor.value()?;
                match cursor.raw(span) {
                    b"true" => self.stream = true,
                    b"false" | b"null" => {}
                    _ => self.complain("stream", "Input should be a valid boolean"),
                }
                Ok(())
            }
            Some("max_tokens") => {
                let span = cursor.value()?;
                self.max_tokens = cursor.slice(span).parse().ok();
                Ok(())
            }
            Some("messages") if cursor.peek() == Some(b'[') => self.read_messages(cursor),
            Some(field) => {
                let span = cursor.value()?;
                match field {
                    "tools" => self.prefix.tools = Some(span),
                    "system" => self.prefix.system = Some(span),
                    _ => {}
                }
                Ok(())
            }
            None => cursor.value().map(|_| ()),
        }
    }

    fn read_model(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Flaw> {
        let name = text(cursor)?;
        match name {
            Some((name, _)) if name.is_empty() => {
                self.complain("model", "String should have at least 1 character");
            }
            Some(named) => self.model = Some(named),
            None => self.complain("model", "Input should be a valid string"),
        }
        Ok(())
    }

    fn read_messages(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Flaw> {
        cursor.elements(|cursor| {
            let span = cursor.value()?;
            self.prefix.turns += 1;
            self.prefix.first_turn.get_or_insert(span);
            Ok(())
        })
    }

    fn read_metadata(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Flaw> {
        let mut seen = false;
        cursor.members(|cursor, key| {
            if *cursor.name(key) != *b"user_id" {
                return cursor.value().map(|_| ());
            }
            if std::mem::replace(&mut seen, true) {
                self.complain("metadata.user_id", REPEATED);
            }
            self.user_id = text(cursor)?.map(|(text, _)| text);
            Ok(())
        })
    }
}

/// Passes a value; its text and place, where it is text.
fn text(cursor: &mut Cursor<'_>) -> Result<Option<(String, Range<usize>)>, Flaw> {
    if cursor.peek() != Some(b'"') {
        return cursor.value().map(|_| None);
    }
    let text = cursor.string()?;
    Ok(cursor.decode(&text).map(|decoded| (decoded.into_owned(), text.span)))
}

#[cfg(test)]
mod tests;
