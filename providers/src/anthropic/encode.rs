//! The caller's request into upstream's: the same bytes, another credential.

use bytes::Bytes;

use crate::Encode;
use crate::fault::{Fault, FaultKind};
use crate::pass::forwards;
use crate::request::{MessagesRequest, Operation};
use crate::wire::{Headers, Method, WireRequest};

/// Builds the request. The body is the received one, shared; only a mapped model name is spliced in.
pub(super) fn encode(encode: &Encode<'_>) -> Result<WireRequest, Fault> {
    let (method, endpoint) = match encode.request.operation {
        Operation::Messages => (Method::Post, "/v1/messages"),
        Operation::CountTokens => (Method::Post, "/v1/messages/count_tokens"),
        Operation::Models => (Method::Get, "/v1/models"),
    };
    let mut path = [encode.base_path, endpoint].concat();
    if let Some(query) = encode.request.query.as_deref().filter(|query| !query.is_empty()) {
        path.push('?');
        path.push_str(query);
    }
    let body = match method {
        Method::Get => Vec::new(),
        Method::Post => body(encode.request, encode.model)?,
    };
    Ok(WireRequest { method, path, headers: headers(encode, method), body })
}

/// Forwarded lines as received, then ours; configured ones replace any of the same name.
fn headers(encode: &Encode<'_>, method: Method) -> Headers {
    let passes = |name: &str| {
        let of_a_body = name == "content-type";
        forwards(name) && !encode.replaces(name) && (method == Method::Post || !of_a_body)
    };
    let mut headers = encode.request.headers.kept(encode.extra_headers.len() + 2, passes);
    if !encode.replaces("accept-encoding") {
        headers.push("accept-encoding", Bytes::from_static(b"identity"));
    }
    encode.present(&mut headers);
    encode.add_configured(&mut headers);
    headers
}

fn body(request: &MessagesRequest, model: &str) -> Result<Vec<Bytes>, Fault> {
    if model == request.outline.model {
        return Ok(vec![request.body.clone()]);
    }
    let span = request.outline.model_span.clone();
    let inexpressible = |detail: &str| Fault::new(FaultKind::Inexpressible, detail);
    if span.start > span.end || span.end > request.body.len() {
        return Err(inexpressible("the model's place lies outside the body"));
    }
    let name =
        serde_json::to_vec(model).map_err(|_| inexpressible("the mapped model cannot be written as JSON"))?;
    Ok(vec![request.body.slice(..span.start), Bytes::from(name), request.body.slice(span.end..)])
}
