//! The body of a Messages request as InvokeModel takes it: a few members removed and added, every other byte as received.
//!
//! `model` and `stream` are said by the path; `anthropic-version`, `anthropic-beta` and the end user's profile move from
//! headers into the body. What a client of Bedrock put there itself counts: its version first, its flags too.

use bytes::Bytes;
use serde_json::json;

use super::nulls::{self, TOOL, TOP};
use super::tables::Tables;
use crate::fault::Fault;
use crate::json::{Cursor, Flaw};
use crate::request::MessagesRequest;
use crate::splice::{Cuts, Keep, cut, members};

/// What a body says that its edit depends on.
#[derive(Debug, Default)]
struct Said {
    /// `anthropic_version`, where a client of Bedrock sent one.
    version: Option<String>,
    /// `anthropic_beta`, likewise.
    betas: Vec<String>,
    /// Whether `user_profile_id` is there.
    profiled: bool,
    /// Whether `max_tokens` is there.
    limited: bool,
    /// `thinking.budget_tokens`.
    thinking_budget: u64,
}

/// The body for `model` (Bedrock's name). With `limit` a missing `max_tokens` is added: the count of tokens does without, but
/// not Bedrock's.
pub(super) fn body(
    request: &MessagesRequest,
    model: &str,
    tables: &Tables,
    limit: bool,
) -> Result<Vec<Bytes>, Fault> {
    let mut said = Said::default();
    let edited = cut(&request.body, |cursor, key, cuts| said.member(cursor, key, cuts))?;
    let asked = said.version.as_deref().or_else(|| request.headers.get("anthropic-version"));
    let mut added = vec![member("anthropic_version", &json!(tables.version(model, asked)))];
    let betas = tables.betas(header_betas(request).chain(said.betas.iter().map(String::as_str)));
    if !betas.is_empty() {
        added.push(member("anthropic_beta", &json!(betas)));
    }
    // As the official SDK has it: what the body says itself wins.
    let profile = request.headers.get("anthropic-user-profile-id");
    if let Some(profile) = profile.filter(|_| !said.profiled) {
        added.push(member("user_profile_id", &json!(profile)));
    }
    if limit && !said.limited {
        // More than the thinking budget, or the count would be refused.
        added.push(member("max_tokens", &json!(said.thinking_budget.saturating_add(1))));
    }
    Ok(edited.with(added.iter().map(Vec::as_slice)))
}

fn member(key: &str, value: &serde_json::Value) -> Vec<u8> {
    format!("{}:{value}", json!(key)).into_bytes()
}

/// Every flag of every `anthropic-beta` line.
fn header_betas(request: &MessagesRequest) -> impl Iterator<Item = &str> {
    let lines = request.headers.iter().filter(|(name, _)| *name == "anthropic-beta");
    lines.filter_map(|(_, value)| std::str::from_utf8(value).ok()).flat_map(flags)
}

fn flags(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|flag| !flag.is_empty())
}

impl Said {
    /// One member of the top level.
    fn member(&mut self, cursor: &mut Cursor<'_>, key: &str, cuts: &mut Cuts) -> Result<Keep, Flaw> {
        if cursor.peek() == Some(b'n') && (TOP.contains(&key) || key.starts_with("anthropic_")) {
            return cursor.value().map(|_| Keep::No);
        }
        match key {
            "model" | "stream" => return cursor.value().map(|_| Keep::No),
            "anthropic_version" => {
                each_text(cursor, |text| self.version = Some(text.to_owned()))?;
                return Ok(Keep::No);
            }
            "anthropic_beta" => {
                each_text(cursor, |text| self.betas.extend(flags(text).map(str::to_owned)))?;
                return Ok(Keep::No);
            }
            "user_profile_id" => {
                self.profiled = true;
                cursor.value()?;
            }
            "max_tokens" => {
                self.limited = true;
                cursor.value()?;
            }
            "thinking" => self.thinking(cursor, cuts)?,
            "tools" => nulls::each(cursor, cuts, |cursor, cuts| nulls::object(cursor, cuts, &TOOL))?,
            "system" => nulls::each(cursor, cuts, |cursor, cuts| nulls::block(cursor, cuts, nulls::DEEPEST))?,
            "messages" => nulls::each(cursor, cuts, nulls::message)?,
            "tool_choice" => nulls::object(cursor, cuts, &["disable_parallel_tool_use"])?,
            "metadata" => nulls::object(cursor, cuts, &["user_id"])?,
            "output_config" => nulls::object(cursor, cuts, &["effort", "format", "task_budget"])?,
            "cache_control" => nulls::marker(cursor, cuts)?,
            _ => {
                cursor.value()?;
            }
        }
        Ok(Keep::Yes)
    }

    fn thinking(&mut self, cursor: &mut Cursor<'_>, cuts: &mut Cuts) -> Result<(), Flaw> {
        if cursor.peek() != Some(b'{') {
            return cursor.value().map(|_| ());
        }
        members(cursor, cuts, |cursor, key, _| {
            let null = cursor.peek() == Some(b'n');
            let span = cursor.value()?;
            if key == "budget_tokens" {
                self.thinking_budget = cursor.slice(span).parse().unwrap_or(0);
            }
            Ok(if null && key == "display" { Keep::No } else { Keep::Yes })
        })
        .map(|_| ())
    }
}

/// Passes a value, handing over each text of a list, or the text that it is.
fn each_text(cursor: &mut Cursor<'_>, mut take: impl FnMut(&str)) -> Result<(), Flaw> {
    let mut text = |cursor: &mut Cursor<'_>| {
        if cursor.peek() != Some(b'"') {
            return cursor.value().map(|_| ());
        }
        let text = cursor.string()?;
        take(&cursor.decode(&text).unwrap_or_default());
        Ok(())
    };
    if cursor.peek() == Some(b'[') { cursor.elements(text) } else { text(cursor) }
}
