//! Requests to the runtime: InvokeModel, its streaming twin, and CountTokens (Amazon Bedrock API reference).
//!
//! The model's id is part of the path. It is percent-encoded as boto3 does it, so that the `:` of versions and the `/` and
//! `:` of ARNs arrive; the signature covers the path as sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::edit;
use super::tables::Tables;
use crate::Encode;
use crate::fault::{Fault, FaultKind};
use crate::request::Operation;
use crate::wire::{Headers, Method, WireRequest};

/// The request, not yet signed.
pub(super) fn encode(encode: &Encode<'_>, tables: &Tables) -> Result<WireRequest, Fault> {
    let request = encode.request;
    let streams = request.outline.stream;
    let (model, call, body) = match request.operation {
        Operation::Models => return Err(super::no_models()),
        Operation::Messages => {
            let call = if streams { "invoke-with-response-stream" } else { "invoke" };
            (encode.model, call, edit::body(request, encode.model, tables, false)?)
        }
        Operation::CountTokens => {
            let inner = edit::body(request, encode.model, tables, true)?.concat();
            (foundation_model(encode.model)?, "count-tokens", count_body(&inner))
        }
    };
    if matches!(model, "" | "." | "..") {
        return Err(Fault::new(
            FaultKind::Inexpressible,
            "model: this name cannot be part of Bedrock's path",
        ));
    }
    let mut path = format!("{}/model/", encode.base_path);
    percent_encode(model, &mut path);
    path.push('/');
    path.push_str(call);
    Ok(WireRequest { method: Method::Post, path, headers: headers(encode), body })
}

/// Only what Bedrock knows: its body carries what the Messages API has in headers. Configured lines replace ours.
fn headers(encode: &Encode<'_>) -> Headers {
    let request = encode.request;
    let streams = request.outline.stream && request.operation == Operation::Messages;
    let accept = if streams { "application/vnd.amazon.eventstream" } else { "application/json" };
    let mut headers = Headers::with_capacity(encode.extra_headers.len() + 8);
    for (name, value) in
        [("content-type", "application/json"), ("accept", accept), ("accept-encoding", "identity")]
    {
        if !encode.replaces(name) {
            headers.push(name, Bytes::from_static(value.as_bytes()));
        }
    }
    for (name, value) in
        request.headers.iter().filter(|(name, _)| *name == "user-agent" && !encode.replaces(name))
    {
        headers.push(name.to_owned(), value.clone());
    }
    encode.present(&mut headers);
    encode.add_configured(&mut headers);
    headers
}

/// `{"input":{"invokeModel":{"body":BASE64}}}`.
fn count_body(inner: &[u8]) -> Vec<Bytes> {
    let mut body = String::from(r#"{"input":{"invokeModel":{"body":""#);
    STANDARD.encode_string(inner, &mut body);
    body.push_str("\"}}}");
    vec![body.into()]
}

/// The id of the model behind a cross-region profile: tokens are counted by foundation models only.
fn foundation_model(id: &str) -> Result<&str, Fault> {
    let name = match id.strip_prefix("arn:") {
        None => id,
        Some(arn) => {
            let named = |kind| arn.split_once(kind).map(|(_, name)| name);
            named(":inference-profile/").or_else(|| named(":foundation-model/")).ok_or_else(|| {
                let detail =
                    "model: Bedrock counts tokens for foundation models only, and this ARN names none";
                Fault::new(FaultKind::Inexpressible, detail)
            })?
        }
    };
    // `us.`, `global.`, `us-gov.`: a geography, then the vendor.
    let vendor = name.split_once('.').map_or("", |(_, rest)| rest);
    Ok(if vendor.starts_with("anthropic.") { vendor } else { name })
}

/// Appends `text` with every byte encoded that RFC 3986 (section 2.3) does not call unreserved.
fn percent_encode(text: &str, out: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{foundation_model, percent_encode};
    use crate::fault::FaultKind;

    #[test]
    fn ids_are_encoded_as_boto3_encodes_them() {
        let mut path = String::new();
        percent_encode("arn:aws:bedrock:us-east-1:1:inference-profile/us.a-b_c~d-v1:0 é", &mut path);
        assert_eq!(
            path,
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.a-b_c~d-v1%3A0%20%C3%A9"
        );
    }

    #[test]
    fn tokens_are_counted_by_the_model_behind_a_profile() {
        for (id, expected) in [
            ("us.anthropic.claude-x-v1:0", Ok("anthropic.claude-x-v1:0")),
            ("us-gov.anthropic.claude-x", Ok("anthropic.claude-x")),
            ("anthropic.claude-x", Ok("anthropic.claude-x")),
            ("claude-x", Ok("claude-x")),
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile/global.anthropic.claude-x",
                Ok("anthropic.claude-x"),
            ),
            (
                "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-x-v1:0",
                Ok("anthropic.claude-x-v1:0"),
            ),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", Err(FaultKind::Inexpressible)),
            ("arn:aws:bedrock:us-east-1:1:provisioned-model/abc", Err(FaultKind::Inexpressible)),
        ] {
            assert_eq!(foundation_model(id).map_err(|fault| fault.kind), expected, "{id}");
        }
    }
}
