//! Errors in Anthropic's envelope.

use serde_json::json;

/// An error as the API states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The status.
    pub status: u16,
    /// `error.type`.
    pub kind: String,
    /// `error.message`.
    pub message: String,
    /// `error.details.error_code`.
    pub code: Option<String>,
}

impl ApiError {
    /// An error of the type that belongs to the status.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, kind: kind_of(status).to_owned(), message: message.into(), code: None }
    }

    /// A 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// With a machine code.
    pub fn code(mut self, code: &str) -> Self {
        self.code = Some(code.to_owned());
        self
    }

    /// The envelope.
    pub fn body(&self, request_id: &str) -> String {
        let (kind, message) = (json!(self.kind), json!(self.message));
        let details = match &self.code {
            Some(code) => format!(r#","details":{{"error_code":{}}}"#, json!(code)),
            None => String::new(),
        };
        let request_id = json!(request_id);
        format!(
            r#"{{"type":"error","error":{{"type":{kind},"message":{message}{details}}},"request_id":{request_id}}}"#
        )
    }
}

fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_names_type_message_code_and_request() {
        let error = ApiError::new(429, "slow \"down\"").code("ramp_limit_exceeded");
        let body: serde_json::Value = serde_json::from_str(&error.body("req_1")).unwrap();
        assert_eq!(body["error"]["type"], "rate_limit_error");
        assert_eq!(body["error"]["message"], "slow \"down\"");
        assert_eq!(body["error"]["details"]["error_code"], "ramp_limit_exceeded");
        assert_eq!(body["request_id"], "req_1");
    }
}
