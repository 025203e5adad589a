//! `providers.bedrock`: the tables of what Bedrock knows.

use super::findings::Findings;
use crate::config::checked::BedrockTables;
use crate::config::raw;

/// Judges the tables.
pub fn tables(raw: &raw::Bedrock, findings: &mut Findings<'_>) -> BedrockTables {
    let path = "providers.bedrock";
    for (index, flag) in raw.betas.iter().enumerate() {
        flag_name(&format!("{path}.betas[{index}]"), flag, findings);
    }
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
    for (index, pattern) in raw.version_2026_models.iter().enumerate() {
        if pattern.trim().is_empty() {
            let text = "is empty, expected a model's name with * for any run of characters";
            findings.wrong(format!("{path}.version_2026_models[{index}]"), text);
        }
    }
    BedrockTables {
        betas: raw.betas.clone(),
        beta_aliases: raw.beta_aliases.iter().map(|alias| (alias.from.clone(), alias.to.clone())).collect(),
        version_2026_models: raw.version_2026_models.clone(),
    }
}

fn flag_name(path: &str, flag: &str, findings: &mut Findings<'_>) {
    let symbol = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if flag.is_empty() || !flag.bytes().all(symbol) {
        findings.wrong(path, "is not a beta flag, expected letters, digits and - _ .");
    }
}
