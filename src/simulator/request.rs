//! Reads a request and refuses what the API refuses, in its order and style.

use serde_json::Value;

use super::error::ApiError;

/// The versions of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `2023-06-01`.
    Y2023,
    /// `2026-10-21`: no sampling parameters, stricter about documents and citations.
    Y2026,
}

impl Version {
    /// Reads the header.
    pub fn read(header: Option<&str>) -> Result<Self, ApiError> {
        match header {
            None => Err(ApiError::invalid("anthropic-version: header is required")),
            Some("2023-06-01") => Ok(Self::Y2023),
            Some("2026-10-21") => Ok(Self::Y2026),
            Some(other) => {
                Err(ApiError::invalid(format!("anthropic-version: \"{other}\" is not a valid version")))
            }
        }
    }
}

const KNOWN: [&str; 31] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "stream",
    "stop_sequences",
    "metadata",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "container",
    "service_tier",
    "speed",
    "inference_geo",
    "diagnostics",
    "temperature",
    "top_p",
    "top_k",
    "context_management",
    "mcp_servers",
    "compaction",
    "thread",
    "fallbacks",
    "fallback_credit_token",
    "billing_policy",
    "output_format",
    "betas",
    "user_profile_id",
    "context_hint",
];

/// Parses a body.
pub fn parse(body: &[u8]) -> Result<Value, ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid(format!("The request body is not valid JSON: {error}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(ApiError::invalid("The request body is not valid JSON: an object is expected"))
    }
}

/// Checks a Messages request; `counting` is count_tokens, which needs no `max_tokens`.
pub fn check(request: &Value, version: Version, counting: bool, strict: bool) -> Result<(), ApiError> {
    let present = |name: &str| request.get(name).is_some_and(|value| !value.is_null());
    required(request, "model", Value::is_string, "a valid string")?;
    required(request, "messages", Value::is_array, "a valid list")?;
    if !counting {
        required(request, "max_tokens", Value::is_u64, "a valid integer")?;
    }
    optional(request, "stream", Value::is_boolean, "a valid boolean")?;
    optional(request, "tools", Value::is_array, "a valid list")?;
    optional(request, "stop_sequences", Value::is_array, "a valid list")?;
    optional(request, "system", |value| value.is_string() || value.is_array(), "a string or a list")?;
    let mut sampling = ["temperature", "top_p", "top_k"].into_iter();
    if let Some(name) = sampling.find(|name| version == Version::Y2026 && present(name)) {
        return refuse(name, "Extra inputs are not permitted with anthropic-version 2026-10-21");
    }
    let mut fields = request.as_object().into_iter().flat_map(|fields| fields.keys());
    if let Some(name) = fields.find(|name| strict && !KNOWN.contains(&name.as_str())) {
        return refuse(name, "Extra inputs are not permitted");
    }
    check_messages(request, version)?;
    check_tools(request)?;
    check_thinking(request)
}

fn refuse<T>(place: &str, why: &str) -> Result<T, ApiError> {
    Err(ApiError::invalid(format!("{place}: {why}")))
}

fn required(request: &Value, name: &str, fits: fn(&Value) -> bool, wanted: &str) -> Result<(), ApiError> {
    match request.get(name) {
        None => refuse(name, "Field required"),
        Some(value) if !fits(value) => refuse(name, &format!("Input should be {wanted}")),
        Some(_) => Ok(()),
    }
}

fn optional(request: &Value, name: &str, fits: fn(&Value) -> bool, wanted: &str) -> Result<(), ApiError> {
    let absent = request.get(name).is_none_or(Value::is_null);
    if absent { Ok(()) } else { required(request, name, fits, wanted) }
}

fn check_messages(request: &Value, version: Version) -> Result<(), ApiError> {
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    if messages.is_empty() {
        return refuse("messages", "at least one message is required");
    }
    let mut marks = 0;
    for (at, message) in messages.iter().enumerate() {
        let place = format!("messages.{at}");
        let Some(role) = message["role"].as_str() else {
            return refuse(&format!("{place}.role"), "Field required");
        };
        if !["user", "assistant", "system"].contains(&role) {
            return refuse(&format!("{place}.role"), "Input should be 'user', 'assistant' or 'system'");
        }
        match &message["content"] {
            Value::String(_) => {}
            Value::Array(blocks) => {
                for (number, block) in blocks.iter().enumerate() {
                    check_block(block, role, version, &format!("{place}.content.{number}"))?;
                    marks += usize::from(block["cache_control"].is_object());
                }
                check_tool_results(blocks, messages.get(at + 1), role, at)?;
            }
            Value::Null => return refuse(&format!("{place}.content"), "Field required"),
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                return refuse(&format!("{place}.content"), "Input should be a valid string or list");
            }
        }
    }
    for part in ["system", "tools"] {
        let blocks = request[part].as_array().into_iter().flatten();
        marks += blocks.filter(|block| block["cache_control"].is_object()).count();
    }
    if marks > 4 {
        return Err(ApiError::invalid(format!(
            "A maximum of 4 blocks with cache_control may be provided. Found {marks}."
        )));
    }
    Ok(())
}

fn check_block(block: &Value, role: &str, version: Version, place: &str) -> Result<(), ApiError> {
    let Some(kind) = block["type"].as_str() else {
        return refuse(&format!("{place}.type"), "Field required");
    };
    let field = match kind {
        "text" => Some("text"),
        "image" | "document" => Some("source"),
        "tool_use" => Some("input"),
        "tool_result" => Some("tool_use_id"),
        _ => None,
    };
    if let Some(field) = field.filter(|field| block.get(*field).is_none()) {
        return refuse(&format!("{place}.{kind}.{field}"), "Field required");
    }
    if kind == "text" && block["text"].as_str().is_some_and(str::is_empty) {
        return Err(ApiError::invalid("messages: text content blocks must be non-empty"));
    }
    if version == Version::Y2026 {
        if kind == "document" && role == "assistant" {
            return refuse(place, "document blocks are not permitted in assistant messages");
        }
        let cited = block["citations"].as_array().is_some_and(|citations| !citations.is_empty());
        if kind == "text" && role == "user" && cited {
            return refuse(
                &format!("{place}.text.citations"),
                "citations are not permitted in user messages",
            );
        }
    }
    Ok(())
}

fn check_tool_results(blocks: &[Value], next: Option<&Value>, role: &str, at: usize) -> Result<(), ApiError> {
    let used =
        blocks.iter().filter(|block| block["type"] == "tool_use").filter_map(|block| block["id"].as_str());
    for id in used.filter(|_| role == "assistant") {
        let answers = next.and_then(|message| message["content"].as_array()).into_iter().flatten();
        if !answers.clone().any(|block| block["type"] == "tool_result" && block["tool_use_id"] == id) {
            return Err(ApiError::invalid(format!(
                "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {id}"
            )));
        }
    }
    Ok(())
}

fn check_tools(request: &Value) -> Result<(), ApiError> {
    let tools = request["tools"].as_array().map_or(&[][..], Vec::as_slice);
    for (at, tool) in tools.iter().enumerate() {
        let custom = tool.get("type").is_none_or(|kind| kind == "custom" || kind.is_null());
        if custom && tool.get("name").is_none() {
            return refuse(&format!("tools.{at}.name"), "Field required");
        }
        if custom && tool.get("input_schema").is_none() {
            return refuse(&format!("tools.{at}.custom.input_schema"), "Field required");
        }
    }
    let choice = &request["tool_choice"];
    if choice["type"] == "tool" && !tools.iter().any(|tool| tool["name"] == choice["name"]) {
        return Err(ApiError::invalid(format!("Tool {} not found in provided tools", choice["name"])));
    }
    Ok(())
}

fn check_thinking(request: &Value) -> Result<(), ApiError> {
    let thinking = &request["thinking"];
    if thinking["type"] != "enabled" {
        return Ok(());
    }
    let place = "thinking.enabled.budget_tokens";
    match (thinking["budget_tokens"].as_u64(), request["max_tokens"].as_u64()) {
        (None, _) => refuse(place, "Field required"),
        (Some(budget), _) if budget < 1_024 => refuse(place, "Input should be greater than or equal to 1024"),
        (Some(budget), Some(max)) if max <= budget => {
            Err(ApiError::invalid("`max_tokens` must be greater than `thinking.budget_tokens`"))
        }
        (Some(_), _) => Ok(()),
    }
}

/// The last text of the last user message; empty when there is none.
pub fn last_user_text(request: &Value) -> &str {
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(message) = messages.iter().rev().find(|message| message["role"] == "user") else { return "" };
    let content = &message["content"];
    let mut blocks = content.as_array().map_or(&[][..], Vec::as_slice).iter().rev();
    content.as_str().or_else(|| blocks.find_map(|block| block["text"].as_str())).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(request: &Value, version: Version) -> String {
        check(request, version, false, true).map_or_else(|error| error.message, |()| "fine".to_owned())
    }

    fn request(more: Value) -> Value {
        let mut request =
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
        for (name, value) in more.as_object().unwrap() {
            request[name] = value.clone();
        }
        request
    }

    #[test]
    fn missing_fields_are_named() {
        assert_eq!(message(&json!({}), Version::Y2023), "model: Field required");
        assert_eq!(message(&json!({"model": "m"}), Version::Y2023), "messages: Field required");
        assert_eq!(
            message(&json!({"model": "m", "messages": []}), Version::Y2023),
            "max_tokens: Field required"
        );
        let empty = request(json!({"messages": []}));
        assert_eq!(message(&empty, Version::Y2023), "messages: at least one message is required");
        assert_eq!(
            message(&request(json!({"colour": 1})), Version::Y2023),
            "colour: Extra inputs are not permitted"
        );
    }

    #[test]
    fn sampling_parameters_belong_to_the_old_version() {
        let warm = request(json!({"temperature": 1.0}));
        assert_eq!(message(&warm, Version::Y2023), "fine");
        assert!(message(&warm, Version::Y2026).starts_with("temperature: "));
    }

    #[test]
    fn a_tool_use_needs_its_result() {
        let call = json!({"type": "tool_use", "id": "toolu_1", "name": "t", "input": {}});
        let result = json!({"type": "tool_result", "tool_use_id": "toolu_1"});
        let turns = |last: Value| {
            request(
                json!({"messages": [{"role": "assistant", "content": [call]}, {"role": "user", "content": [last]}]}),
            )
        };
        assert_eq!(message(&turns(result), Version::Y2026), "fine");
        assert!(message(&turns(json!({"type": "text", "text": "x"})), Version::Y2026).contains("toolu_1"));
    }

    #[test]
    fn the_last_user_text_is_found_in_strings_and_blocks() {
        assert_eq!(last_user_text(&request(json!({}))), "hi");
        let blocks = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        assert_eq!(last_user_text(&request(json!({"messages": [{"role": "user", "content": blocks}]}))), "b");
    }
}
