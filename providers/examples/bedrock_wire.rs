//! What the Bedrock dialect puts on the wire and reads from it, one JSON document a line in, one out: for judges that are
//! written in other languages (`tests/e2e/test_bedrock_wire.py`).
//!
//! `{"encode":{...}}` answers method, path, headers and body; `{"frames":BASE64,"size":N}` the headers and payloads of frames
//! fed in pieces of N bytes, or the fault; `{"frame":{"headers":{...},"payload":BASE64}}` a frame, base64.
#![expect(clippy::print_stdout, reason = "its answers go to standard output")]

use std::error::Error;
use std::io::BufRead as _;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use headgate_providers::bedrock::{Bedrock, Surface, Tables};
use headgate_providers::framing::aws::{self, Frames};
use headgate_providers::{
    AwsKeys, Credential, Encode, Headers, MessagesRequest, Method, Operation, Provider as _, Secret, scan,
};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    for line in std::io::stdin().lock().lines() {
        let asked: Value = serde_json::from_str(&line?)?;
        let answer = if asked["encode"].is_object() {
            encode(&asked["encode"])?
        } else if asked["frame"].is_object() {
            frame(&asked["frame"])?
        } else {
            frames(&asked)?
        };
        println!("{answer}");
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn encode(asked: &Value) -> Outcome<Value> {
    let body = Bytes::from(text(&asked["body"]));
    let mut headers = Headers::default();
    for line in asked["headers"].as_array().into_iter().flatten() {
        headers.push(text(&line[0]), text(&line[1]));
    }
    let operation = match asked["operation"].as_str() {
        Some("count_tokens") => Operation::CountTokens,
        Some("models") => Operation::Models,
        Some(_) | None => Operation::Messages,
    };
    let query = asked["query"].as_str().map(str::to_owned);
    let request = MessagesRequest { operation, outline: scan(&body, 64)?, body, query, headers };
    let secret = |name: &str| Secret::new(text(&asked[name]));
    let credential = if asked["access_key_id"].is_string() {
        Credential::Aws(AwsKeys {
            access_key_id: secret("access_key_id"),
            secret_access_key: secret("secret_access_key"),
            session_token: asked["session_token"].is_string().then(|| secret("session_token")),
        })
    } else if asked["bearer"].is_string() {
        Credential::Bearer(secret("bearer"))
    } else {
        Credential::None
    };
    let surface = if asked["surface"] == "mantle" { Surface::Mantle } else { Surface::Runtime };
    let listed = |name: &str| asked[name].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let aliases = asked["aliases"].as_array().into_iter().flatten();
    let aliases = aliases.map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
    let tables = Tables::new(listed("betas"), aliases, &listed("version_2026_models"));
    let encoded = Bedrock::new(surface, text(&asked["region"]), tables).encode(&Encode {
        request: &request,
        model: &text(&asked["model"]),
        credential: &credential,
        authority: &text(&asked["authority"]),
        base_path: &text(&asked["base_path"]),
        extra_headers: &[],
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(asked["wall"].as_u64().unwrap_or(0)),
    });
    let wire = match encoded {
        Ok(wire) => wire,
        Err(fault) => return Ok(json!({ "fault": fault.kind.name(), "detail": fault.detail })),
    };
    let lines = wire.headers.iter().map(|(name, value)| json!([name, String::from_utf8_lossy(value)]));
    let method = match wire.method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    Ok(json!({
        "method": method,
        "path": wire.path,
        "headers": lines.collect::<Vec<_>>(),
        "body": String::from_utf8(wire.body.concat())?,
    }))
}

fn frame(asked: &Value) -> Outcome<Value> {
    let headers = asked["headers"].as_object().ok_or("no headers")?;
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())).collect();
    let payload = STANDARD.decode(text(&asked["payload"]))?;
    Ok(match aws::frame(&headers, &payload) {
        Some(frame) => json!(STANDARD.encode(frame)),
        None => Value::Null,
    })
}

fn frames(asked: &Value) -> Outcome<Value> {
    const NAMES: [&str; 6] =
        [":message-type", ":event-type", ":exception-type", ":content-type", ":error-code", ":error-message"];
    let body = STANDARD.decode(text(&asked["frames"]))?;
    let mut frames = Frames::new(usize::MAX);
    let mut found = Vec::new();
    for piece in body.chunks(asked["size"].as_u64().and_then(|size| size.try_into().ok()).unwrap_or(1)) {
        frames.feed(piece);
        loop {
            match frames.next_frame() {
                Ok(None) => break,
                Ok(Some(message)) => {
                    let headers = NAMES
                        .iter()
                        .filter_map(|name| Some(((*name).to_owned(), message.text(name)?.into())));
                    let headers: serde_json::Map<String, Value> = headers.collect();
                    found.push(json!({ "headers": headers, "payload": STANDARD.encode(message.payload()) }));
                }
                Err(fault) => return Ok(json!({ "fault": fault.kind.name() })),
            }
        }
    }
    Ok(json!({ "frames": found, "amid": frames.is_amid() }))
}
