//! The caller's request into Vertex's: another path, a body without `model` and with `anthropic_version`.

use std::fmt::Write as _;

use bytes::Bytes;

use super::Vertex;
use crate::fault::{Fault, FaultKind};
use crate::pass::forwards;
use crate::request::{MessagesRequest, Operation};
use crate::splice::Edit;
use crate::wire::{Headers, Method, WireRequest};
use crate::{Credential, Encode};

/// Builds the request.
pub(super) fn encode(vertex: &Vertex, encode: &Encode<'_>) -> Result<WireRequest, Fault> {
    let request = encode.request;
    let model = own_name(encode.model);
    let verb = match request.operation {
        Operation::Messages if request.outline.stream => "streamRawPredict",
        Operation::Messages | Operation::CountTokens => "rawPredict",
        Operation::Models => return Err(inexpressible("Vertex AI does not list its models")),
    };
    let named = match request.operation {
        Operation::CountTokens => "count-tokens",
        Operation::Messages | Operation::Models => &model,
    };
    // Such a segment would name another resource.
    if matches!(named, "" | "." | "..") {
        return Err(inexpressible("Vertex AI has no model of this name"));
    }
    // A query (`?beta=true` of the official SDKs) has no place on a method of Google's.
    let path = format!(
        "{}/v1/projects/{}/locations/{}/publishers/anthropic/models/{}:{verb}",
        encode.base_path,
        segment(&vertex.project),
        segment(&vertex.location),
        segment(named),
    );
    let version = vertex.tables.version(&model, request.headers.get("anthropic-version"));
    let body = body(request, &model, version)?;
    Ok(WireRequest { method: Method::Post, path, headers: headers(vertex, encode), body })
}

/// Vertex's name of a model: `NAME-YYYYMMDD` is `NAME@YYYYMMDD` there, any other name as it is.
fn own_name(model: &str) -> String {
    match model.rsplit_once('-') {
        Some((name, date))
            if !name.is_empty() && date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            format!("{name}@{date}")
        }
        Some(_) | None => model.to_owned(),
    }
}

/// A path segment: what is not unreserved (RFC 3986, 2.3) is escaped, but for the `@` of model names, which may stand there.
fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                escaped.push(char::from(byte));
            }
            // Writing to memory has no way to fail.
            _ => write!(escaped, "%{byte:02X}").unwrap_or_default(),
        }
    }
    escaped
}

fn body(request: &MessagesRequest, model: &str, version: &str) -> Result<Vec<Bytes>, Fault> {
    let quoted = |text: &str| {
        serde_json::to_vec(text).map_err(|_| inexpressible("the model cannot be written as JSON"))
    };
    let version = quoted(version)?;
    let edit = Edit::default().set("anthropic_version", &version);
    // A count names its model in the body; the path names the counter, and its method is that of no stream.
    let edit = match request.operation {
        Operation::CountTokens if request.outline.model == model => edit.remove("stream"),
        Operation::CountTokens => edit.set("model", &quoted(model)?).remove("stream"),
        Operation::Messages | Operation::Models => edit.remove("model"),
    };
    edit.apply(&request.body)
}

/// Forwarded lines as received, then ours; configured ones replace any of the same name. The version stands in the body.
fn headers(vertex: &Vertex, encode: &Encode<'_>) -> Headers {
    let forwarded = &encode.request.headers;
    let mut headers = Headers::with_capacity(forwarded.len() + encode.extra_headers.len() + 2);
    for (name, value) in forwarded.iter() {
        if forwards(name) && !encode.replaces(name) && !matches!(name, "anthropic-version" | "anthropic-beta")
        {
            headers.push(name.to_owned(), value.clone());
        }
    }
    let lines = forwarded.iter().filter(|(name, _)| *name == "anthropic-beta");
    let asked = lines.filter_map(|(_, value)| std::str::from_utf8(value).ok());
    let betas = vertex.tables.betas(asked.flat_map(|line| line.split(',')).map(str::trim));
    if let Some(betas) = betas.filter(|_| !encode.replaces("anthropic-beta")) {
        headers.push("anthropic-beta", betas);
    }
    if !encode.replaces("accept-encoding") {
        headers.push("accept-encoding", Bytes::from_static(b"identity"));
    }
    match encode.credential {
        Credential::Bearer(token) if !encode.replaces("authorization") => {
            headers.push("authorization", format!("Bearer {}", token.expose()));
        }
        // Google knows neither the Messages API's keys nor those of AWS.
        Credential::Bearer(_) | Credential::ApiKey(_) | Credential::Aws(_) | Credential::None => {}
    }
    encode.add_configured(&mut headers);
    headers
}

fn inexpressible(detail: &str) -> Fault {
    Fault::new(FaultKind::Inexpressible, detail)
}
