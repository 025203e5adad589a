//! `capabilities`: what the models of a provider or backend take of the Messages API.

use std::sync::Arc;

use headgate_providers::Operation;
use headgate_providers::capability::Rule;

use super::findings::Findings;
use crate::config::raw;

/// The largest limit of a body, bytes.
const MOST_BYTES: u64 = 1 << 30;

/// Judges a list of rules.
pub fn rules(path: &str, raw: &[raw::Capability], findings: &mut Findings<'_>) -> Arc<[Rule]> {
    let rule = |(index, raw)| rule(&format!("{path}[{index}]"), raw, findings);
    raw.iter().enumerate().map(rule).collect()
}

fn rule(path: &str, raw: &raw::Capability, findings: &mut Findings<'_>) -> Rule {
    let lists = [
        ("fields", raw.fields.as_ref()),
        ("tools", raw.tools.as_ref()),
        ("blocks", raw.blocks.as_ref()),
        ("sources", raw.sources.as_ref()),
        ("refuses", Some(&raw.refuses)),
        ("vital_betas", Some(&raw.vital_betas)),
    ];
    for (option, list) in lists {
        for (index, name) in list.into_iter().flatten().enumerate() {
            let path = format!("{path}.{option}[{index}]");
            if name.is_empty() || name.contains(char::is_whitespace) {
                findings.wrong(path, "is not a name, expected no blanks, and * for any characters");
            } else if option == "refuses" && !name.contains('.') {
                findings.wrong(
                    path,
                    "names no member, expected FIELD.MEMBER; leave whole fields out of `fields`",
                );
            }
        }
    }
    if let Some(bytes) = raw.max_body_bytes {
        findings.within(&format!("{path}.max_body_bytes"), bytes, 0..=MOST_BYTES);
    }
    if raw.models.as_deref().is_some_and(|models| models.trim().is_empty()) {
        let text = "is empty, expected a model's name with * for any run of characters";
        findings.wrong(format!("{path}.models"), text);
    }
    Rule {
        models: raw.models.clone().unwrap_or_else(|| "*".to_owned()),
        max_body_bytes: raw.max_body_bytes.filter(|bytes| *bytes > 0).and_then(|bytes| bytes.try_into().ok()),
        operations: raw.operations.as_ref().map(|list| list.iter().copied().map(operation).collect()),
        fields: raw.fields.clone(),
        tools: raw.tools.clone(),
        blocks: raw.blocks.clone(),
        sources: raw.sources.clone(),
        refuses: raw.refuses.clone(),
        vital_betas: raw.vital_betas.clone(),
    }
}

fn operation(raw: raw::Operation) -> Operation {
    match raw {
        raw::Operation::Messages => Operation::Messages,
        raw::Operation::CountTokens => Operation::CountTokens,
        raw::Operation::Models => Operation::Models,
    }
}
