//! AWS errors: an exception's name in a header, its message in the body.

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::super::reply::Reply;

/// How an exception is written, besides the usual `x-amzn-errortype` and `message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// The header's value goes on with `:http://...`.
    Suffix,
    /// `Message` in place of `message`.
    Capital,
    /// The body names the exception too, in `__type`.
    Typed,
    /// There is no header.
    Bare,
}

/// An exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The status.
    pub status: u16,
    /// Its name.
    pub name: String,
    /// What it says.
    pub message: String,
}

/// Names, statuses and usual messages.
const KNOWN: [(&str, u16, &str); 17] = [
    ("ValidationException", 400, "The provided request is not valid."),
    ("ServiceQuotaExceededException", 400, "Your request exceeds the service quota for your account."),
    ("AccessDeniedException", 403, "You don't have access to the model with the specified model ID."),
    ("UnrecognizedClientException", 403, "The security token included in the request is invalid."),
    ("ExpiredTokenException", 403, "The security token included in the request is expired"),
    (
        "InvalidSignatureException",
        403,
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
         and signing method. Consult the service documentation for details.",
    ),
    ("MissingAuthenticationTokenException", 403, "Missing Authentication Token"),
    ("IncompleteSignatureException", 403, "The authorization header lacks a part of the signature."),
    (
        "ResourceNotFoundException",
        404,
        "Could not resolve the foundation model from the provided model identifier.",
    ),
    ("UnknownOperationException", 404, ""),
    ("ModelTimeoutException", 408, "The model did not answer in time."),
    ("RequestEntityTooLargeException", 413, "The request exceeds the maximum size."),
    (
        "ModelErrorException",
        424,
        "The system encountered an unexpected error during processing. Try your request again.",
    ),
    ("ThrottlingException", 429, "Too many requests, please wait before trying again."),
    ("ModelNotReadyException", 429, "The model is not ready for inference. Wait and try your request again."),
    (
        "InternalServerException",
        500,
        "The system encountered an unexpected error during processing. Try your request again.",
    ),
    ("ServiceUnavailableException", 503, "Bedrock is unable to process your request."),
];

impl Exception {
    /// One of the known ones; any other name is a 400.
    pub fn new(name: &str, message: impl Into<String>) -> Self {
        let status = KNOWN.iter().find(|(known, ..)| *known == name).map_or(400, |(_, status, _)| *status);
        Self { status, name: name.to_owned(), message: message.into() }
    }

    /// One of the known ones with its usual message.
    pub fn usual(name: &str) -> Self {
        let message = KNOWN.iter().find(|(known, ..)| *known == name).map_or("", |(.., message)| *message);
        Self::new(name, message)
    }

    /// A `ValidationException`.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// What stands here for a status of the first-party API.
    pub fn for_status(status: u16) -> Self {
        let name = match status {
            401 => "UnrecognizedClientException",
            402 | 403 => "AccessDeniedException",
            404 => "ResourceNotFoundException",
            413 => "RequestEntityTooLargeException",
            422 => "ModelErrorException",
            429 => "ThrottlingException",
            503 | 529 => "ServiceUnavailableException",
            504 => "ModelTimeoutException",
            500..=599 => "InternalServerException",
            _ => "ValidationException",
        };
        Self::usual(name)
    }

    /// The answer.
    pub fn reply(&self, shape: &[ErrorShape]) -> Reply {
        let has = |wanted: ErrorShape| shape.contains(&wanted);
        let mut body = Map::new();
        if has(ErrorShape::Typed) {
            body.insert("__type".to_owned(), json!(format!("com.amazon.coral.service#{}", self.name)));
        }
        let field = if has(ErrorShape::Capital) { "Message" } else { "message" };
        body.insert(field.to_owned(), json!(self.message));
        let mut reply = Reply::json(self.status, serde_json::Value::from(body).to_string());
        let suffix = ":http://internal.amazon.com/coral/com.amazon.bedrock.runtime/";
        if !has(ErrorShape::Bare) {
            let suffix = if has(ErrorShape::Suffix) { suffix } else { "" };
            reply.header("x-amzn-errortype", format!("{}{suffix}", self.name));
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_written_in_the_shapes_asked_for() {
        let exception = Exception::usual("ThrottlingException");
        let plain = exception.reply(&[]);
        assert_eq!(plain.status, 429);
        assert!(plain.headers.contains(&("x-amzn-errortype".into(), "ThrottlingException".into())));
        assert!(plain.pieces[0].bytes.starts_with(b"{\"message\":\"Too many requests"));
        let odd = exception.reply(&[ErrorShape::Suffix, ErrorShape::Capital, ErrorShape::Typed]);
        assert!(odd.headers.iter().any(|(_, value)| value.starts_with("ThrottlingException:http://")));
        let body = String::from_utf8_lossy(&odd.pieces[0].bytes).into_owned();
        assert!(body.contains("\"Message\":") && body.contains("#ThrottlingException"), "{body}");
        assert_eq!(exception.reply(&[ErrorShape::Bare]).headers.len(), 1);
    }
}
