//! Google's errors: `{"error":{"code","message","status","details"}}`, in an array on stream endpoints.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::reply::Reply;

/// An error.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The HTTP status.
    pub code: u16,
    /// The name of the `google.rpc` code.
    pub status: String,
    /// What it says.
    pub message: String,
    /// More, as typed objects.
    pub details: Vec<Value>,
}

const KNOWN: [(&str, u16, &str); 14] = [
    ("INVALID_ARGUMENT", 400, "Request contains an invalid argument."),
    ("FAILED_PRECONDITION", 400, "Project is not allowed to use Publisher Model."),
    (
        "UNAUTHENTICATED",
        401,
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
         authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    ),
    (
        "PERMISSION_DENIED",
        403,
        "Permission 'aiplatform.endpoints.predict' denied on resource (or it may not exist).",
    ),
    ("NOT_FOUND", 404, "Publisher Model was not found or your project does not have access to it."),
    ("REQUEST_TOO_LARGE", 413, "Request payload size exceeds the limit."),
    ("RESOURCE_EXHAUSTED", 429, "Resource exhausted, please try again later."),
    ("CANCELLED", 499, "The operation was cancelled."),
    ("INTERNAL", 500, "Internal error encountered."),
    ("UNKNOWN", 500, "Unknown error."),
    ("UNIMPLEMENTED", 501, "Operation is not implemented, or supported, or enabled."),
    ("UNAVAILABLE", 503, "The service is currently unavailable."),
    ("DEADLINE_EXCEEDED", 504, "Deadline expired before operation could complete."),
    ("ABORTED", 409, "The operation was aborted."),
];

impl Status {
    /// One of the known ones; any other name is a 500.
    pub fn new(status: &str, message: impl Into<String>) -> Self {
        let code = KNOWN.iter().find(|(known, ..)| *known == status).map_or(500, |(_, code, _)| *code);
        Self { code, status: status.to_owned(), message: message.into(), details: Vec::new() }
    }

    /// One of the known ones with its usual message.
    pub fn usual(status: &str) -> Self {
        Self::new(
            status,
            KNOWN.iter().find(|(known, ..)| *known == status).map_or("", |(.., message)| *message),
        )
    }

    /// An `INVALID_ARGUMENT`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("INVALID_ARGUMENT", message)
    }

    /// What stands here for a status of the first-party API.
    pub fn for_code(code: u16) -> Self {
        Self::usual(match code {
            401 => "UNAUTHENTICATED",
            402 | 403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            409 => "ABORTED",
            413 => "REQUEST_TOO_LARGE",
            429 => "RESOURCE_EXHAUSTED",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            500..=599 => "INTERNAL",
            _ => "INVALID_ARGUMENT",
        })
    }

    /// With the time to come back.
    pub fn retry_in(mut self, wait: Duration) -> Self {
        let delay = format!("{}s", wait.as_millis().div_ceil(100) as f64 / 10.0);
        self.details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}));
        self
    }

    /// With a machine-readable reason.
    pub fn reason(mut self, reason: &str) -> Self {
        let metadata = json!({"service": "aiplatform.googleapis.com"});
        self.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason, "domain": "googleapis.com", "metadata": metadata,
        }));
        self
    }

    /// The answer; `array` wraps it as stream endpoints do.
    pub fn reply(&self, array: bool) -> Reply {
        let mut error = json!({"code": self.code, "message": self.message, "status": self.status});
        if self.status == "REQUEST_TOO_LARGE" {
            error["status"] = json!("INVALID_ARGUMENT");
        }
        if !self.details.is_empty() {
            error["details"] = json!(self.details);
        }
        let mut body = json!({ "error": error });
        if array {
            body = json!([body]);
        }
        let text = serde_json::to_string_pretty(&body).unwrap_or_default();
        let mut reply = Reply::whole(self.code, "application/json; charset=UTF-8", text);
        if self.code == 401 {
            reply.header(
                "www-authenticate",
                "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"",
            );
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_wrapped_in_an_array_on_stream_endpoints_and_may_say_when_to_come_back() {
        let status = Status::usual("RESOURCE_EXHAUSTED").retry_in(Duration::from_millis(12_340));
        let plain: Value = serde_json::from_slice(&status.reply(false).pieces[0].bytes).unwrap();
        assert_eq!(
            (&plain["error"]["code"], &plain["error"]["status"]),
            (&json!(429), &json!("RESOURCE_EXHAUSTED"))
        );
        assert_eq!(plain["error"]["details"][0]["retryDelay"], "12.4s");
        let wrapped: Value = serde_json::from_slice(&status.reply(true).pieces[0].bytes).unwrap();
        assert_eq!(wrapped, json!([plain]));
    }
}
