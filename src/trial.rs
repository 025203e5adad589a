//! A trial of one key: one free call outside the pool, which moves no park, no breaker and no health.
//!
//! It lists models where the dialect can, else counts tokens. What upstream says is told in its own words, scrubbed of whatever
//! looks like a key, an id or an address.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headgate_providers::{
    Encode, Fault, Headers, MessagesRequest, Operation, Outline, Secret, WireHead, scan,
};

use crate::config::checked::{BedrockSurface, ProviderSettings};
use crate::gateway::Gateway;
use crate::pool::Upstream;
use crate::pool::seat::Seat;
use crate::transport::{Body, Transport};

/// Longest trial.
const LIMIT: Duration = Duration::from_secs(20);
/// Most bytes read of an answer.
const ANSWER_BYTES: usize = 1 << 20;
/// Characters told of upstream's words.
const TOLD: usize = 200;

/// What a trial showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// Upstream took the key; `None` where no answer came.
    pub authenticates: Option<bool>,
    /// The model it was asked about.
    pub model: Option<String>,
    /// Upstream has that model for this key; `None` where it was not asked.
    pub model_reachable: Option<bool>,
    /// Upstream's status.
    pub status: Option<u16>,
    /// What upstream, or the way there, says.
    pub detail: Option<String>,
}

/// Tries the key of `seat`, with `model` where one is named.
pub async fn run<T: Transport>(
    gateway: &Gateway,
    transport: &T,
    (upstream, seat): (&Arc<Upstream>, &Arc<Seat>),
    model: Option<String>,
) -> Trial {
    let lists = match &upstream.settings.provider {
        ProviderSettings::Anthropic | ProviderSettings::OpenAi => true,
        ProviderSettings::Bedrock { surface, .. } => *surface == BedrockSurface::Mantle,
        ProviderSettings::Vertex { .. } => false,
    };
    let request = match &model {
        None if lists => Some(models()),
        None => None,
        Some(model) => tokens(model),
    };
    let mut trial = Trial { model, ..Trial::default() };
    let Some(request) = request else {
        trial.detail = Some("Name a model: this provider lists none.".to_owned());
        return trial;
    };
    let attempt = attempt(gateway, transport, upstream, seat, &request);
    match tokio::time::timeout(LIMIT, attempt).await {
        Err(_) => trial.detail = Some(format!("no answer came within {} s", LIMIT.as_secs())),
        Ok(Err(fault)) => trial.detail = Some(scrub(&fault.detail)),
        Ok(Ok((head, body))) => judge(&mut trial, &head, &body),
    }
    trial
}

fn judge(trial: &mut Trial, head: &WireHead, body: &Bytes) {
    trial.status = Some(head.status);
    let good = (200..300).contains(&head.status);
    trial.authenticates = match head.status {
        401 | 403 => Some(false),
        200..=299 | 400 | 404 | 413 | 429 | 529 => Some(true),
        _ => None,
    };
    trial.model_reachable = match head.status {
        200..=299 | 429 | 529 => Some(true),
        400 | 404 => Some(false),
        _ => None,
    };
    if trial.model.is_none() {
        trial.model_reachable = None;
    }
    trial.detail = (!good).then(|| {
        let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let error = &json["error"];
        let word = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let kind = word(&error["type"]).or_else(|| word(&error["status"])).or_else(|| word(&json["__type"]));
        let text = word(&error["message"]).or_else(|| word(&json["message"])).unwrap_or_default();
        scrub(&[kind.unwrap_or_default(), text].join(": "))
    });
}

async fn attempt<T: Transport>(
    gateway: &Gateway,
    transport: &T,
    upstream: &Arc<Upstream>,
    seat: &Arc<Seat>,
    request: &MessagesRequest,
) -> Result<(WireHead, Bytes), Fault> {
    let unbuilt =
        || Fault::new(headgate_providers::FaultKind::Inexpressible, "this provider is not served yet");
    let provider = upstream.provider.as_ref().ok_or_else(unbuilt)?;
    let held = seat.credential.obtain(gateway.clock.now() + LIMIT).await?;
    let own =
        |(name, _): &&(String, Secret)| upstream.settings.headers.iter().all(|(other, _)| other != name);
    let lines = held.lines.iter().filter(own);
    let extra_headers: Vec<(String, Secret)> =
        upstream.settings.headers.iter().chain(lines).cloned().collect();
    let wire = provider.encode(&Encode {
        request,
        model: &request.outline.model,
        credential: &held.credential,
        authority: &upstream.authority,
        base_path: &upstream.settings.base_url.path,
        extra_headers: &extra_headers,
        wall: gateway.clock.wall(),
    })?;
    let (head, mut body) = transport.send(&upstream.settings, wire, true).await?;
    let mut read = Vec::new();
    while read.len() < ANSWER_BYTES
        && let Some(bytes) = std::future::poll_fn(|cx| body.poll_bytes(cx)).await
    {
        read.extend_from_slice(&bytes?);
    }
    Ok((head, read.into()))
}

fn headers() -> Headers {
    let mut headers = Headers::default();
    headers.push("anthropic-version", "2023-06-01".to_owned());
    headers
}

fn models() -> MessagesRequest {
    let outline =
        Outline { model: String::new(), model_span: 0..0, stream: false, max_tokens: None, user_id: None };
    let query = Some("limit=1".to_owned());
    MessagesRequest { operation: Operation::Models, body: Bytes::new(), query, headers: headers(), outline }
}

fn tokens(model: &str) -> Option<MessagesRequest> {
    let body = serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
    let body = Bytes::from(body.to_string());
    let outline = scan(&body, 16).ok()?;
    let mut headers = headers();
    headers.push("content-type", "application/json".to_owned());
    Some(MessagesRequest { operation: Operation::CountTokens, body, query: None, headers, outline })
}

/// Upstream's words without keys, ids and addresses, which are long, mixed or have an `@`.
fn scrub(text: &str) -> String {
    let secretive = |word: &str| {
        let core = word.trim_matches(|symbol: char| !symbol.is_alphanumeric());
        let digits = core.chars().any(|symbol| symbol.is_ascii_digit());
        let letters = core.chars().any(|symbol| symbol.is_alphabetic());
        let model = core.starts_with("claude-");
        word.contains('@')
            || ["sk-", "AKIA", "ASIA", "hgc_", "hga_", "ya29"].iter().any(|mark| word.contains(mark))
            || (!model && core.len() >= 12 && (digits || !letters))
            || core.len() >= 40
    };
    let words = text.split_whitespace().map(|word| if secretive(word) { "[removed]" } else { word });
    let text = words.collect::<Vec<_>>().join(" ");
    text.trim_matches([':', ' ']).chars().take(TOLD).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_s_words_are_told_without_what_looks_secret() {
        let said = "authentication_error: invalid x-api-key sk-ant-api03-abc of ada@example.com in \
                    123456789012, arn:aws:iam::123456789012:user/ada, request req_011CSHoEeqs5C35K2UUqR7Fy";
        let told = scrub(said);
        for secret in ["sk-ant", "ada", "1234", "req_011"] {
            assert!(!told.contains(secret), "{told}");
        }
        assert!(told.starts_with("authentication_error: invalid x-api-key"), "{told}");
        assert_eq!(
            scrub("model: claude-sonnet-4-5-20250929 not found"),
            "model: claude-sonnet-4-5-20250929 not found"
        );
        assert!(scrub(&"word ".repeat(100)).len() <= TOLD);
    }

    #[test]
    fn a_status_tells_whether_the_key_or_the_model_is_at_fault() {
        let judged = |status: u16, model: Option<&str>| {
            let mut trial = Trial { model: model.map(str::to_owned), ..Trial::default() };
            let head = WireHead { status, headers: Headers::default() };
            judge(&mut trial, &head, &Bytes::from_static(br#"{"error":{"type":"t","message":"m"}}"#));
            (trial.authenticates, trial.model_reachable, trial.detail)
        };
        assert_eq!(judged(200, Some("m")), (Some(true), Some(true), None));
        assert_eq!(judged(401, None), (Some(false), None, Some("t: m".to_owned())));
        assert_eq!(judged(404, Some("m")), (Some(true), Some(false), Some("t: m".to_owned())));
        assert_eq!(judged(500, Some("m")), (None, None, Some("t: m".to_owned())));
    }
}
