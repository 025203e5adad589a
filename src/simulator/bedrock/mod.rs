//! Amazon Bedrock as clients see it: the runtime (InvokeModel, event streams) and the native Messages surface.

pub mod access;
pub mod account;
pub mod config;
pub mod exception;
pub mod frames;
mod invoke;
pub mod model_id;
mod signature;

use super::error::ApiError;
use super::http::Call;
use super::messages;
use super::reply::Reply;
use exception::Exception;

/// Answers a call of the runtime.
pub fn answer(call: &mut Call, body: &[u8]) -> Reply {
    route(call, body).unwrap_or_else(|exception| exception.reply(&[]))
}

fn route(call: &mut Call, body: &[u8]) -> Result<Reply, Exception> {
    let path = call.path().to_owned();
    let unknown = || Exception::usual("UnknownOperationException");
    let (segment, action) =
        path.strip_prefix("/model/").and_then(|rest| rest.rsplit_once('/')).ok_or_else(unknown)?;
    // A slash of an ARN must be encoded; sent bare it is another path.
    if call.parts.method != "POST" || segment.is_empty() || segment.contains('/') {
        return Err(unknown());
    }
    access::verify(call, body, &["bedrock"])?;
    match action {
        "invoke" => invoke::invoke(call, segment, body, false),
        "invoke-with-response-stream" => invoke::invoke(call, segment, body, true),
        "count-tokens" => invoke::count(call, segment, body),
        _ => Err(unknown()),
    }
}

/// Answers a call of the native surface.
///
/// # Errors
/// The error that its Anthropic envelope tells.
pub fn native(call: &mut Call, body: &[u8]) -> Result<Reply, ApiError> {
    let path = call.path().to_owned();
    if !["/anthropic/v1/messages", "/anthropic/v1/messages/count_tokens"].contains(&path.as_str()) {
        return Err(ApiError::new(404, "Not found"));
    }
    if call.parts.method != "POST" {
        return Err(ApiError::new(405, "Method Not Allowed"));
    }
    // The runtime's host serves the same paths, signed for its own service.
    access::verify(call, body, &["bedrock-mantle", "bedrock"])
        .map_err(|exception| ApiError::new(401, exception.message))?;
    match path.as_str() {
        "/anthropic/v1/messages" => messages::create(call, body),
        _ => messages::count(call, body),
    }
}
