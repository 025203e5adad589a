//! From the merged tree to its [`Raw`] shape, with every option of the wrong name or type reported, not just the first.
//!
//! Serde stops at its first error, so each error is noted, the option at fault is taken out (or put back to its
//! default) and the tree is read again. Texts that came from variables are read as YAML where text does not fit, which
//! is how `HEADGATE__SERVER__WORKERS=2` becomes a number while a name that looks like one stays a name.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use serde_path_to_error::Segment;

use super::layers;
use super::problem::Problem;
use super::raw::Raw;

/// More wrong options than this are not worth listing.
const MAX_PROBLEMS: usize = 200;

/// One step of an option's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a table.
    Name(String),
    /// Into a list.
    Index(usize),
}

impl Step {
    /// The path of the option this step leads to from the option at `path`.
    pub fn after(&self, path: &str) -> String {
        match self {
            Self::Name(name) if path.is_empty() => name.clone(),
            Self::Name(name) => format!("{path}.{name}"),
            Self::Index(index) => format!("{path}[{index}]"),
        }
    }
}

/// What the tree gave.
pub struct Shaped {
    /// The shape without the options that had to be taken out; absent when nothing could be made of it.
    pub raw: Option<Raw>,
    /// What was wrong.
    pub problems: Vec<Problem>,
}

/// Reads `tree` as a [`Raw`]; `defaults` replace what has to be taken out, `variables` name the options that came from
/// the environment.
pub fn shape(mut tree: Json, defaults: &Json, variables: &BTreeMap<String, String>) -> Shaped {
    let mut problems = Vec::new();
    while problems.len() < MAX_PROBLEMS {
        let error = match serde_path_to_error::deserialize::<_, Raw>(&tree) {
            Ok(raw) => return Shaped { raw: Some(raw), problems },
            Err(error) => error,
        };
        let steps: Vec<Step> = error.path().iter().filter_map(step).collect();
        let path = steps.iter().fold(String::new(), |path, step| step.after(&path));
        if variables.contains_key(&path) && reread(&mut tree, &steps) {
            continue;
        }
        let text = explain(&error.inner().to_string(), &steps, find(&mut tree, &steps));
        if !problems.iter().any(|problem: &Problem| problem.option == path) {
            problems.push(Problem::new(path, text));
        }
        if !repair(&mut tree, &steps, defaults) {
            break;
        }
    }
    Shaped { raw: None, problems }
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Name(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

fn find<'a>(tree: &'a mut Json, steps: &[Step]) -> Option<&'a mut Json> {
    steps.iter().try_fold(tree, |value, step| match step {
        Step::Name(name) => value.get_mut(name),
        Step::Index(index) => value.get_mut(*index),
    })
}

/// Replaces a text by the number, switch, list or table it spells in YAML, if it spells one.
fn reread(tree: &mut Json, steps: &[Step]) -> bool {
    let Some(value) = find(tree, steps) else { return false };
    let Some(text) = value.as_str() else { return false };
    let Ok(mut table) = layers::parse(&format!("value: {text}")) else { return false };
    let Some(read) = table.remove("value").and_then(|read| read.try_deserialize::<Json>().ok()) else {
        return false;
    };
    let spelled = !read.is_string();
    if spelled {
        *value = read;
    }
    spelled
}

/// Takes the option out of the tree so that the rest can be read; false if that is not possible.
fn repair(tree: &mut Json, steps: &[Step], defaults: &Json) -> bool {
    let Some((last, parents)) = steps.split_last() else { return false };
    let default = steps.iter().try_fold(defaults, |value, step| match step {
        Step::Name(name) => value.get(name),
        Step::Index(_) => None,
    });
    let Some(parent) = find(tree, parents) else { return false };
    match (last, parent) {
        (Step::Name(name), Json::Object(table)) => match default {
            Some(default) => table.insert(name.clone(), default.clone()).is_some_and(|old| old != *default),
            None => table.remove(name).is_some(),
        },
        (Step::Index(index), Json::Array(items)) => {
            let Some(item) = items.get_mut(*index) else { return false };
            // A list of tables keeps its positions; of a list of texts nothing is left.
            let blank = Json::Object(serde_json::Map::new());
            if *item == blank {
                items.clear();
            } else {
                *item = blank;
            }
            true
        }
        (
            Step::Name(_) | Step::Index(_),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) | Json::Object(_),
        ) => false,
    }
}

/// What is wrong, from serde's words but without the value it quotes.
fn explain(message: &str, steps: &[Step], value: Option<&mut Json>) -> String {
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let asked = match steps.last() {
            Some(Step::Name(name)) => name.as_str(),
            Some(Step::Index(_)) | None => "",
        };
        return match nearest(asked, &quoted(after_expected(rest))) {
            Some(known) => format!("unknown option, the nearest known one is `{known}`"),
            None => "unknown option".to_owned(),
        };
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let known = quoted(after_expected(rest));
        let listed = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let near = value.and_then(|value| {
            let text = value.as_str()?;
            nearest(text, &known).filter(|name| strsim::jaro_winkler(text, name) > 0.7)
        });
        let hint = near.map_or_else(String::new, |name| format!("; the nearest is `{name}`"));
        return format!(
            "unknown value, expected {}{listed}{hint}",
            if known.len() > 1 { "one of " } else { "" }
        );
    }
    let is = match value {
        None => return message.to_owned(),
        Some(Json::Null) => "is empty",
        Some(Json::Bool(_)) => "is true or false",
        // A number out of range is shown; one where text belongs could be a secret.
        Some(Json::Number(number)) if message.starts_with("invalid value") => {
            return format!("is {number}, expected {}", plain(after_expected(message)));
        }
        Some(Json::Number(number)) if number.is_f64() => "is a number with a fraction",
        Some(Json::Number(_)) => "is a number",
        Some(Json::String(_)) => "is text",
        Some(Json::Array(_)) => "is a list",
        Some(Json::Object(_)) => "is a table",
    };
    format!("{is}, expected {}", plain(after_expected(message)))
}

fn after_expected(message: &str) -> &str {
    message.rsplit_once(", expected ").map_or("", |(_, expected)| expected)
}

fn plain(expected: &str) -> &str {
    match expected {
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text",
        "a sequence" => "a list",
        "string or map" | "variant identifier" => "one of its names",
        other if other.starts_with("struct ") || other == "a map" => "a table of options",
        other => other,
    }
}

/// The names between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn nearest<'a>(asked: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |name: &&&str| {
        (strsim::damerau_levenshtein(asked, name), 1000 - (strsim::jaro_winkler(asked, name) * 1000.0) as i64)
    };
    known.iter().min_by_key(distance).copied()
}

/// Whether `text` can be read as `T` alone; used by tests to learn a shape's options from its refusal.
#[cfg(test)]
pub fn known_options<T: serde::de::DeserializeOwned>() -> Vec<String> {
    let probe = serde_json::from_str::<T>(r#"{"\u0001": 0}"#);
    let message = probe.err().map(|error| error.to_string()).unwrap_or_default();
    quoted(after_expected(&message)).into_iter().map(str::to_owned).collect()
}
