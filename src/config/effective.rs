//! The effective configuration as `headgate check` prints it: a YAML document that could be loaded again, without
//! secrets, followed by what became of every reference and by the warnings, as comments.

use std::fmt::Write as _;

use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlEmitter, YamlLoader};

use super::check::Outcome;
use super::raw::Raw;

/// Renders `raw`, in the order of its shape; references appear as references.
pub fn render(raw: &Raw, references: &[Outcome], warnings: &[String]) -> String {
    let mut text = document(raw).unwrap_or_default();
    text.push_str("\n\n# References\n");
    for outcome in references {
        let _ = writeln!(text, "# {}: {} ({})", outcome.option, outcome.source, outcome.state);
    }
    if references.is_empty() {
        text.push_str("# none\n");
    }
    text.push_str("\n# Warnings\n");
    for warning in warnings {
        let _ = writeln!(text, "# {warning}");
    }
    if warnings.is_empty() {
        text.push_str("# none\n");
    }
    text
}

/// JSON keeps the order of the shape and is YAML, so it is read and written again in YAML's block style.
fn document(raw: &Raw) -> Option<String> {
    let json = serde_json::to_string(raw).ok()?;
    let yaml = YamlLoader::load_from_str(&json).ok()?.into_iter().next()?;
    let mut text = String::new();
    YamlEmitter::new(&mut text).dump(&without_unset(yaml)).ok()?;
    Some(text.trim_start_matches("---\n").to_owned())
}

/// Without what was not written: a missing list stays, since an empty one says something.
#[allow(clippy::wildcard_enum_match_arm, reason = "another crate's enum; only containers hold more values")]
fn without_unset(yaml: Yaml) -> Yaml {
    match yaml {
        Yaml::Hash(table) => Yaml::Hash(
            table
                .into_iter()
                .map(|(name, value)| (name, without_unset(value)))
                .filter(|(_, value)| !matches!(value, Yaml::Null) && *value != Yaml::Hash(Hash::new()))
                .collect::<Hash>(),
        ),
        Yaml::Array(items) => Yaml::Array(items.into_iter().map(without_unset).collect()),
        other => other,
    }
}
