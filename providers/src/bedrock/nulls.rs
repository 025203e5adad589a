//! Nulls of known optional fields, which Bedrock refuses where the Messages API takes them for absent ("expected type: Number,
//! found: Null"; observed).
//!
//! They are dropped where the API defines them: at the top, in tools, in content blocks. What belongs to the caller (`input`,
//! schemas, examples) and unknown fields are never looked into.

use crate::json::{Cursor, Flaw};
use crate::splice::{Cuts, Keep, members};

/// Optional fields of the Messages API ("Create a Message"), by where they stand.
pub(super) const TOP: [&str; 22] = [
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "fallbacks",
    "inference_geo",
    "mcp_servers",
    "metadata",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user_profile_id",
    "max_tokens",
];
const BLOCK: [&str; 8] =
    ["cache_control", "caller", "citations", "content", "context", "is_error", "title", "toolset_name"];
pub(super) const TOOL: [&str; 17] = [
    "allowed_callers",
    "allowed_domains",
    "blocked_domains",
    "cache_control",
    "citations",
    "defer_loading",
    "description",
    "display_number",
    "eager_input_streaming",
    "input_examples",
    "max_characters",
    "max_content_tokens",
    "max_uses",
    "strict",
    "type",
    "user_location",
    "enable_zoom",
];

/// Content lies in messages, in results within them, in documents within those; nothing real goes deeper.
pub(super) const DEEPEST: usize = 3;

pub(super) fn message(cursor: &mut Cursor<'_>, cuts: &mut Cuts) -> Result<(), Flaw> {
    if cursor.peek() != Some(b'{') {
        return cursor.value().map(|_| ());
    }
    members(cursor, cuts, |cursor, key, cuts| {
        match key {
            "content" => each(cursor, cuts, |cursor, cuts| block(cursor, cuts, DEEPEST))?,
            _ => {
                cursor.value()?;
            }
        }
        Ok(Keep::Yes)
    })
    .map(|_| ())
}

/// A content block, with the blocks inside of it down to `deeper` levels.
pub(super) fn block(cursor: &mut Cursor<'_>, cuts: &mut Cuts, deeper: usize) -> Result<(), Flaw> {
    if cursor.peek() != Some(b'{') {
        return cursor.value().map(|_| ());
    }
    members(cursor, cuts, |cursor, key, cuts| {
        if cursor.peek() == Some(b'n') && BLOCK.contains(&key) {
            return cursor.value().map(|_| Keep::No);
        }
        match (key, deeper.checked_sub(1)) {
            ("cache_control", _) => marker(cursor, cuts)?,
            ("content", Some(deeper)) => each(cursor, cuts, |cursor, cuts| block(cursor, cuts, deeper))?,
            // `{"type":"content","content":[blocks]}`
            ("source", Some(deeper)) => block(cursor, cuts, deeper)?,
            (_, _) => {
                cursor.value()?;
            }
        }
        Ok(Keep::Yes)
    })
    .map(|_| ())
}

/// An object some of whose members are optional; it may carry a cache mark.
pub(super) fn object(cursor: &mut Cursor<'_>, cuts: &mut Cuts, optional: &[&str]) -> Result<(), Flaw> {
    if cursor.peek() != Some(b'{') {
        return cursor.value().map(|_| ());
    }
    members(cursor, cuts, |cursor, key, cuts| {
        if cursor.peek() == Some(b'n') && optional.contains(&key) {
            return cursor.value().map(|_| Keep::No);
        }
        match key {
            "cache_control" => marker(cursor, cuts)?,
            _ => {
                cursor.value()?;
            }
        }
        Ok(Keep::Yes)
    })
    .map(|_| ())
}

/// A cache mark: only its `ttl` is optional.
pub(super) fn marker(cursor: &mut Cursor<'_>, cuts: &mut Cuts) -> Result<(), Flaw> {
    if cursor.peek() != Some(b'{') {
        return cursor.value().map(|_| ());
    }
    members(cursor, cuts, |cursor, key, _| {
        let null = cursor.peek() == Some(b'n');
        cursor.value()?;
        Ok(if null && key == "ttl" { Keep::No } else { Keep::Yes })
    })
    .map(|_| ())
}

/// A list, `element` passing each of its values; anything else is passed as it is.
pub(super) fn each(
    cursor: &mut Cursor<'_>,
    cuts: &mut Cuts,
    element: impl Fn(&mut Cursor<'_>, &mut Cuts) -> Result<(), Flaw>,
) -> Result<(), Flaw> {
    if cursor.peek() != Some(b'[') {
        return cursor.value().map(|_| ());
    }
    cursor.elements(|cursor| element(cursor, cuts))
}
