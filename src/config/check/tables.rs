//! `providers.bedrock` and `providers.vertex`: the tables of what they know.

use super::findings::Findings;
use crate::config::checked::CloudTables;
use crate::config::raw;

/// Judges the tables of Bedrock.
pub fn bedrock(raw: &raw::Bedrock, findings: &mut Findings<'_>) -> CloudTables {
    let path = "providers.bedrock";
    flags(path, &raw.betas, findings);
    for (index, alias) in raw.beta_aliases.iter().enumerate() {
        let path = format!("{path}.beta_aliases[{index}]");
        flag_name(&format!("{path}.from"), &alias.from, findings);
        flag_name(&format!("{path}.to"), &alias.to, findings);
        if !raw.betas.contains(&alias.to) {
            findings.wrong(format!("{path}.to"), "is not in providers.bedrock.betas, so it would be dropped");
        }
        if raw.beta_aliases.iter().take(index).any(|other| other.from == alias.from) {
            findings.wrong(format!("{path}.from"), "is there twice, expected one name for it");
        }
    }
    models(path, &raw.version_2026_models, findings);
    CloudTables {
        betas: raw.betas.clone(),
        beta_aliases: raw.beta_aliases.iter().map(|alias| (alias.from.clone(), alias.to.clone())).collect(),
        version_2026_models: raw.version_2026_models.clone(),
    }
}

/// Judges the tables of Vertex AI.
pub fn vertex(raw: &raw::Vertex, findings: &mut Findings<'_>) -> CloudTables {
    flags("providers.vertex", &raw.betas, findings);
    models("providers.vertex", &raw.version_2026_models, findings);
    CloudTables {
        betas: raw.betas.clone(),
        beta_aliases: Vec::new(),
        version_2026_models: raw.version_2026_models.clone(),
    }
}

fn flags(path: &str, betas: &[String], findings: &mut Findings<'_>) {
    for (index, flag) in betas.iter().enumerate() {
        flag_name(&format!("{path}.betas[{index}]"), flag, findings);
    }
}

fn models(path: &str, patterns: &[String], findings: &mut Findings<'_>) {
    for (index, pattern) in patterns.iter().enumerate() {
        if pattern.trim().is_empty() {
            let text = "is empty, expected a model's name with * for any run of characters";
            findings.wrong(format!("{path}.version_2026_models[{index}]"), text);
        }
    }
}

fn flag_name(path: &str, flag: &str, findings: &mut Findings<'_>) {
    let symbol = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if flag.is_empty() || !flag.bytes().all(symbol) {
        findings.wrong(path, "is not a beta flag, expected letters, digits and - _ .");
    }
}
