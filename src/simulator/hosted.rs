//! What Claude at a cloud lacks of the first-party API, and how strictly the clouds read.
//!
//! Fields and tools: section 10 of what is known of Bedrock, section 8 of Vertex. Pure; errors are the message alone.

use serde_json::Value;

/// What differs between the clouds.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Top-level fields besides those of both.
    pub fields: &'static [&'static str],
    /// `web_search_20250305` is there.
    pub web_search: bool,
    /// `null` stands for an absent field.
    pub nulls: bool,
}

/// Fields of every cloud.
const FIELDS: [&str; 18] = [
    "anthropic_version",
    "anthropic_beta",
    "messages",
    "max_tokens",
    "system",
    "stop_sequences",
    "metadata",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "cache_control",
    "temperature",
    "top_p",
    "top_k",
    "context_management",
    "user_profile_id",
];

const SERVER_TOOLS: [&str; 5] = ["web_search_", "web_fetch_", "code_execution_", "advisor_", "mcp_toolset"];

/// Refuses what is not offered, with the message of the first that is found.
pub fn check(request: &Value, offer: Offer) -> Result<(), String> {
    let fields = request.as_object().into_iter().flat_map(|fields| fields.keys());
    for name in fields {
        if !FIELDS.contains(&name.as_str()) && !offer.fields.contains(&name.as_str()) {
            return Err(format!("{name}: Extra inputs are not permitted"));
        }
    }
    if !offer.nulls {
        no_nulls(request)?;
    }
    for (at, tool) in request["tools"].as_array().into_iter().flatten().enumerate() {
        check_tool(tool, at, offer)?;
    }
    for part in ["system", "messages"] {
        check_sources(&request[part], part)?;
    }
    Ok(())
}

/// The first flag that is not known.
pub fn unknown_beta<'a>(flags: impl Iterator<Item = &'a str>, known: &[String]) -> Option<&'a str> {
    let mut flags = flags.map(str::trim).filter(|flag| !flag.is_empty());
    flags.find(|flag| !known.iter().any(|known| known == flag))
}

fn check_tool(tool: &Value, at: usize, offer: Offer) -> Result<(), String> {
    let kind = tool["type"].as_str().unwrap_or("custom");
    let searches = offer.web_search && kind == "web_search_20250305";
    if !searches && SERVER_TOOLS.iter().any(|server| kind.starts_with(server)) {
        return Err(format!(
            "tools.{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
        ));
    }
    if tool.get("allowed_callers").is_some() {
        return Err(format!("tools.{at}.{kind}.allowed_callers: Extra inputs are not permitted"));
    }
    Ok(())
}

/// Sources must come with the request: what is inside tool results counts, what is inside tool input does not.
fn check_sources(value: &Value, place: &str) -> Result<(), String> {
    if let Value::Array(items) = value {
        for (at, item) in items.iter().enumerate() {
            check_sources(item, &format!("{place}.{at}"))?;
        }
        return Ok(());
    }
    if let Some(kind) = value["source"]["type"].as_str().filter(|kind| ["url", "file"].contains(kind)) {
        let block = value["type"].as_str().unwrap_or("block");
        return Err(format!("{place}.{block}.source: '{kind}' sources are not supported"));
    }
    match value.get("content") {
        Some(content) => check_sources(content, &format!("{place}.content")),
        None => Ok(()),
    }
}

/// Optional fields must be left out rather than set to `null`; tools' inputs and schemas are the caller's own.
fn no_nulls(request: &Value) -> Result<(), String> {
    let refuse = |place: &str, wanted: &str| {
        Err(format!(
            "Malformed input request: #/{place}: expected type: {wanted}, found: Null, please reformat your input and try \
             again."
        ))
    };
    for (name, value) in request.as_object().into_iter().flatten() {
        if value.is_null() {
            let wanted = match name.as_str() {
                "temperature" | "top_p" | "top_k" | "max_tokens" => "Number",
                "stop_sequences" | "tools" | "messages" | "anthropic_beta" => "JSONArray",
                "system" | "anthropic_version" | "user_profile_id" => "String",
                _ => "JSONObject",
            };
            return refuse(name, wanted);
        }
    }
    for part in ["tools", "system", "messages"] {
        if let Some(place) = null_within(&request[part], part) {
            return refuse(&place, "JSONObject");
        }
    }
    Ok(())
}

fn null_within(value: &Value, place: &str) -> Option<String> {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(at, item)| null_within(item, &format!("{place}/{at}")))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, field)| match name.as_str() {
            "input" | "input_schema" => None,
            "cache_control" | "citations" | "description" | "is_error" | "title" | "context"
                if field.is_null() =>
            {
                Some(format!("{place}/{name}"))
            }
            _ => null_within(field, &format!("{place}/{name}")),
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OFFER: Offer = Offer { fields: &[], web_search: false, nulls: false };

    fn refusal(request: Value) -> String {
        check(&request, OFFER).err().unwrap_or_default()
    }

    #[test]
    fn fields_of_the_first_party_alone_are_extra() {
        for name in
            ["model", "stream", "service_tier", "container", "mcp_servers", "fallbacks", "speed", "colour"]
        {
            let refusal = refusal(json!({ name: 1 }));
            assert_eq!(refusal, format!("{name}: Extra inputs are not permitted"));
        }
        assert_eq!(refusal(json!({"max_tokens": 1, "messages": [], "thinking": {"type": "adaptive"}})), "");
    }

    #[test]
    fn sources_elsewhere_and_server_tools_are_refused() {
        let image = |kind: &str| json!({"type": "image", "source": {"type": kind}});
        let inside = |block: Value| json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [block]}]}]});
        assert_eq!(refusal(inside(image("base64"))), "");
        for kind in ["url", "file"] {
            let place = "messages.0.content.0.content.0.image.source";
            assert_eq!(refusal(inside(image(kind))), format!("{place}: '{kind}' sources are not supported"));
        }
        assert!(refusal(json!({"tools": [{"type": "web_search_20250305"}]})).starts_with("tools.0: "));
        assert_eq!(refusal(json!({"tools": [{"type": "bash_20250124"}, {"name": "mine"}]})), "");
        let allowed = Offer { web_search: true, ..OFFER };
        assert!(check(&json!({"tools": [{"type": "web_search_20250305"}]}), allowed).is_ok());
    }

    #[test]
    fn nulls_are_refused_but_not_inside_what_is_the_callers_own() {
        assert!(
            refusal(json!({"temperature": null}))
                .contains("#/temperature: expected type: Number, found: Null")
        );
        let mark = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": null}]}]});
        assert!(refusal(mark).contains("#/messages/0/content/0/cache_control"));
        let own = json!({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": {"title": null}}]}]});
        assert_eq!(refusal(own), "");
    }

    #[test]
    fn an_unknown_flag_is_found() {
        let known = ["a-1".to_owned()];
        assert_eq!(unknown_beta("a-1, a-1".split(','), &known), None);
        assert_eq!(unknown_beta("a-1, b-2".split(','), &known), Some("b-2"));
    }
}
