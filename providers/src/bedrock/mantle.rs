//! Requests to the native Messages API on AWS: what the Messages API takes, under another name and another proof.
//!
//! One thing differs: the end user's profile is read from the body, not from `anthropic-user-profile-id`.

use serde_json::json;

use crate::anthropic::Anthropic;
use crate::fault::Fault;
use crate::json::{Cursor, Flaw};
use crate::request::Operation;
use crate::splice::Edit;
use crate::wire::WireRequest;
use crate::{Encode, Provider as _};

/// The header that belongs into the body here.
const PROFILE: &str = "anthropic-user-profile-id";

/// The request, not yet signed.
pub(super) fn encode(encode: &Encode<'_>) -> Result<WireRequest, Fault> {
    let request = encode.request;
    if request.operation == Operation::Models {
        return Err(super::no_models());
    }
    let mut wire = Anthropic.encode(encode)?;
    if let Some(profile) = request.headers.get(PROFILE) {
        wire.headers.retain(|name| name != PROFILE);
        if says_profile(&request.body) {
            return Ok(wire);
        }
        let profile = json!(profile).to_string();
        let mut edit = Edit::default().set("user_profile_id", profile.as_bytes());
        let model = json!(encode.model).to_string();
        if encode.model != request.outline.model {
            edit = edit.set("model", model.as_bytes());
        }
        wire.body = edit.apply(&request.body)?;
    }
    Ok(wire)
}

/// Whether the body names a profile itself, which then holds.
fn says_profile(body: &[u8]) -> bool {
    let read = || {
        let mut said = false;
        Cursor::new(body, usize::MAX)?.members(|cursor, key| {
            let named = cursor.decode(key).is_some_and(|key| key == "user_profile_id");
            said |= named && cursor.peek() != Some(b'n');
            cursor.value().map(|_| ())
        })?;
        Ok::<bool, Flaw>(said)
    };
    read().unwrap_or(false)
}

/// The service that signatures name. The same API has a base on the runtime's host, whose signatures name its own, and so has the
/// Claude Platform on AWS (`anthropic.AnthropicAWS` of the official SDK).
pub(super) fn service(authority: &str) -> &'static str {
    if authority.starts_with("bedrock-runtime") {
        "bedrock"
    } else if authority.starts_with("aws-external-anthropic") {
        "aws-external-anthropic"
    } else {
        "bedrock-mantle"
    }
}
