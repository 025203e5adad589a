//! What an operator writes on one line for a route's target or a group's limit.

use serde_json::{Map, Value, json};

/// `BACKEND[=MODEL][@TIER]` as a target of a route.
///
/// Model names may hold an `@` with a date of eight digits (Vertex AI), so only one to three digits behind the last one are a tier.
///
/// # Errors
/// What is expected instead.
pub fn target(text: &str) -> Result<Value, String> {
    let (text, tier) = match text.rsplit_once('@') {
        Some((front, tier))
            if matches!(tier.len(), 1..=3) && tier.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            (front, tier.parse::<u32>().ok())
        }
        Some(_) | None => (text, None),
    };
    let (backend, model) =
        text.split_once('=').map_or((text, None), |(backend, model)| (backend, Some(model)));
    if backend.is_empty() || model.is_some_and(str::is_empty) {
        return Err("expected BACKEND, BACKEND=MODEL or BACKEND=MODEL@TIER".to_owned());
    }
    let mut target = Map::from_iter([("backend".to_owned(), json!(backend))]);
    target.extend(model.map(|model| ("model".to_owned(), json!(model))));
    target.extend(tier.map(|tier| ("tier".to_owned(), json!(tier))));
    Ok(Value::Object(target))
}

/// `MODELS:NAME=NUMBER[,...]`, such as `claude-sonnet-*:rpm=4000,input_tpm=2000000`, as a limit of a group.
///
/// # Errors
/// What is expected instead.
pub fn limit(text: &str) -> Result<Value, String> {
    let wrong = || "expected MODELS:NAME=NUMBER,... such as claude-*:rpm=4000,input_tpm=2000000".to_owned();
    let (models, numbers) =
        text.rsplit_once(':').filter(|(models, _)| !models.is_empty()).ok_or_else(wrong)?;
    let mut limit = Map::from_iter([("models".to_owned(), json!(models))]);
    for part in numbers.split(',') {
        let (name, number) = part.split_once('=').ok_or_else(wrong)?;
        let number: u64 = number.trim().parse().map_err(|_| wrong())?;
        limit.insert(name.trim().replace('-', "_"), json!(number));
    }
    Ok(Value::Object(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_backend_with_a_model_and_a_tier() {
        assert_eq!(target("anthropic"), Ok(json!({ "backend": "anthropic" })));
        assert_eq!(target("anthropic@2"), Ok(json!({ "backend": "anthropic", "tier": 2 })));
        assert_eq!(
            target("bedrock-us=us.anthropic.{model}-v1:0@1"),
            Ok(json!({ "backend": "bedrock-us", "model": "us.anthropic.{model}-v1:0", "tier": 1 }))
        );
        assert_eq!(
            target("vertex-eu=claude-sonnet-4-5@20250929"),
            Ok(json!({ "backend": "vertex-eu", "model": "claude-sonnet-4-5@20250929" }))
        );
        for wrong in ["", "=m", "a=", "@1"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_names_models_and_numbers() {
        assert_eq!(
            limit("claude-sonnet-*:rpm=4000,input-tpm=2000000"),
            Ok(json!({ "models": "claude-sonnet-*", "rpm": 4000, "input_tpm": 2_000_000 }))
        );
        for wrong in ["", "rpm=1", "a:rpm", "a:rpm=x", ":rpm=1"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
