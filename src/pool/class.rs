//! Model classes: which models of a group share one limit.

use crate::config::checked::GroupLimit;

/// The class of `model` in a group with these configured limits: the first matching pattern, else
/// `claude-<family>-<major>`, else the model's own name.
#[must_use]
pub fn model_class(limits: &[GroupLimit], model: &str) -> String {
    limits
        .iter()
        .find(|limit| limit.models.matches(model))
        .map(|limit| limit.models.pattern())
        .or_else(|| claude_class(model))
        .unwrap_or_else(|| model.to_owned())
}

/// `claude-<family>-<major>` of a Claude model in any of its spellings: `claude-sonnet-4-5-20250929`,
/// `claude-3-5-haiku-latest`, `us.anthropic.claude-opus-4-1-v1:0`, `claude-haiku-4-5@20251001`.
fn claude_class(model: &str) -> Option<String> {
    let name = &model[model.find("claude-")? + "claude-".len()..];
    let mut family = None;
    let mut major = None;
    for part in name.split(['-', '@', ':', '.']) {
        if part.is_empty() {
            return None;
        }
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            // Dates have eight digits and are no version.
            major = major.or((part.len() < 3).then_some(part));
        } else {
            family = family.or(Some(part));
        }
        if family.is_some() && major.is_some() {
            break;
        }
    }
    Some(format!("claude-{}-{}", family?, major?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::checked::ModelPattern;

    #[test]
    fn every_spelling_of_a_claude_model_has_its_family_and_major_version() {
        for (model, class) in [
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4"),
            ("claude-sonnet-4-6", "claude-sonnet-4"),
            ("claude-sonnet-5", "claude-sonnet-5"),
            ("claude-3-5-haiku-latest", "claude-haiku-3"),
            ("us.anthropic.claude-opus-4-1-20250805-v1:0", "claude-opus-4"),
            ("claude-haiku-4-5@20251001", "claude-haiku-4"),
            ("claude-mythos-preview", "claude-mythos-preview"),
            ("gpt-5.1", "gpt-5.1"),
            ("claude-", "claude-"),
            ("claude--4", "claude--4"),
        ] {
            assert_eq!(model_class(&[], model), class, "{model}");
        }
    }

    #[test]
    fn a_configured_pattern_wins() {
        let limit = GroupLimit {
            models: ModelPattern::new("claude-*-4-*"),
            rpm: None,
            input_tpm: None,
            output_tpm: None,
            tpm: None,
            rpd: None,
            tpd: None,
            tpw: None,
            concurrent: None,
        };
        assert_eq!(model_class(&[limit], "claude-opus-4-1"), "claude-*-4-*");
    }
}
