//! Whose fault an AWS exception is, before a stream and within one, and what the caller of the Messages API is told of it.
//!
//! The exception's name decides, its wording where the name says too little, the status where there is no name (Amazon Bedrock
//! API reference, errors of InvokeModel; wordings are observed ones). Wordings that accuse a key or a model are matched at
//! the start of the message, since upstream echoes parts of the request. `testdata/errors.txt` is this table by example.

use std::time::SystemTime;

use bytes::Bytes;

use crate::anthropic::fault::{classify as classify_envelope, renewal};
use crate::anthropic::message::Report;
use crate::anthropic::retry_after::{retry_after, until};
use crate::anthropic::{encoded, envelope, error_type_for_status};
use crate::fault::{Answer, Dimension, Fault, FaultKind, Source, Stated};
use crate::wire::{Headers, WireHead};

/// An exception as it was read.
struct Exception {
    /// Its name in lower case, without `exception`; empty where nothing names it.
    name: String,
    /// The HTTP status; 200 within a stream.
    status: u16,
    /// Its message.
    report: Report,
    /// What the model itself answered with (`originalStatusCode`).
    original: Option<u64>,
}

/// Classifies an answer that is not 2xx, of either surface: the native one has the Messages API's own envelope, but the
/// gate in front of it speaks as AWS does.
pub(super) fn classify(head: &WireHead, body: &Bytes, wall: Option<SystemTime>) -> Fault {
    let mut exception = Exception::read(if encoded(head) { b"" } else { body });
    let announced = head.headers.get("x-amzn-errortype");
    if exception.report.is_envelope && announced.is_none() {
        return classify_envelope(head, body, wall);
    }
    if let Some(announced) = announced {
        exception.name = plain_name(announced);
    }
    exception.status = head.status;
    exception.fault(&head.headers, wall)
}

/// Classifies an exception within a stream, by its name and the JSON that goes with it. Waits are counted from the answer's
/// own `date`, since decoders have no clock.
pub(super) fn in_stream(head: &WireHead, name: &str, body: &[u8]) -> Fault {
    let mut exception = Exception::read(body);
    exception.name = plain_name(name);
    let wall = head.headers.get("date").and_then(|date| httpdate::parse_http_date(date).ok());
    exception.fault(&head.headers, wall)
}

/// `com.amazon.coral.service#AccessDeniedException:http://...` is `accessdenied`.
fn plain_name(name: &str) -> String {
    let name = name.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default().trim().to_ascii_lowercase();
    name.strip_suffix("exception").unwrap_or(&name).to_owned()
}

impl Exception {
    fn read(body: &[u8]) -> Self {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Shape {
            #[serde(rename = "__type")]
            kind: serde_json::Value,
            #[serde(rename = "Message")]
            message: serde_json::Value,
            #[serde(rename = "originalStatusCode")]
            original: serde_json::Value,
        }
        let shape: Shape = serde_json::from_slice(body).unwrap_or_default();
        let mut report = Report::read(body);
        if report.message.is_empty() {
            report.message = shape.message.as_str().unwrap_or_default().to_owned();
            report.lower = report.message.to_lowercase();
        }
        let name = plain_name(shape.kind.as_str().unwrap_or_default());
        Self { name, status: 200, report, original: shape.original.as_u64() }
    }

    fn fault(&self, headers: &Headers, wall: Option<SystemTime>) -> Fault {
        let (kind, status) = self.verdict();
        let dimension = self.dimension(kind);
        let told = retry_after(headers, wall);
        let renewed = || {
            let moment =
                renewal(dimension.filter(|it| *it == Dimension::Day && kind == FaultKind::Quota)?, wall?);
            Some(Stated { after: until(moment?, wall?)?, source: Source::Calendar })
        };
        let mut headers = headers.clone();
        // The body that goes with these is ours.
        headers.retain(|name| !name.starts_with("content-") && name != "x-amzn-errortype");
        headers.push("content-type", Bytes::from_static(b"application/json"));
        let body = envelope(error_type_for_status(status), &self.sentence(), None);
        Fault {
            kind,
            stated: told.or_else(renewed),
            dimension,
            model_only: kind == FaultKind::KeyForbidden && self.is_about_a_model(),
            detail: self.detail(kind),
            answer: Some(Box::new(Answer { status, headers, body, is_envelope: true })),
        }
    }

    /// What it is, and the status the Messages API has for it.
    fn verdict(&self) -> (FaultKind, u16) {
        match self.name.as_str() {
            "validation" => self.validation(),
            "servicequotaexceeded" => (FaultKind::Quota, 429),
            "accessdenied" => self.access(),
            "unrecognizedclient"
            | "invalidclienttokenid"
            | "expiredtoken"
            | "requestexpired"
            | "invalidsignature"
            | "signaturedoesnotmatch"
            | "incompletesignature"
            | "missingauthenticationtoken"
            | "unauthorized"
            | "notauthorized" => (FaultKind::KeyRefused, 401),
            "resourcenotfound" => (FaultKind::ModelMissing, 404),
            "modeltimeout" => (FaultKind::Server, 504),
            "modelerror" | "modelstreamerror" => match self.original {
                Some(429 | 503 | 529) => (FaultKind::Overloaded, 529),
                Some(_) | None => (FaultKind::Server, 500),
            },
            "throttling" | "toomanyrequests" => self.limited(),
            "modelnotready" => (FaultKind::NotReady, 529),
            "internalserver" | "internalfailure" => (FaultKind::Server, 500),
            "serviceunavailable" => (FaultKind::Overloaded, 529),
            // The path is not Bedrock's: another surface, or something in between.
            "unknownoperation" => (FaultKind::Malformed, 500),
            _ => self.by_status(),
        }
    }

    fn by_status(&self) -> (FaultKind, u16) {
        // Not the API, but something in front of it: no key and no model is to blame.
        let foreign = self.name.is_empty() && !self.report.is_object;
        match self.status {
            200..=299 => (FaultKind::Server, 500),
            400 => self.validation(),
            401 => (FaultKind::KeyRefused, 401),
            402 => (FaultKind::Billing, 402),
            403 if foreign => (FaultKind::Server, 500),
            403 => self.access(),
            404 | 405 | 407 | 410 if foreign => (FaultKind::Malformed, 500),
            404 | 410 => (FaultKind::ModelMissing, 404),
            408 | 504 => (FaultKind::Server, 504),
            421 | 424 | 425 | 499 => (FaultKind::Server, 500),
            413 => (FaultKind::Request, 413),
            429 => self.limited(),
            405..=498 => (FaultKind::Request, 400),
            503 | 529 => (FaultKind::Overloaded, 529),
            500..=599 => (FaultKind::Server, 500),
            _ => (FaultKind::Malformed, 500),
        }
    }

    /// A 400 that may be about the model's place, or about what this dialect made of the request.
    fn validation(&self) -> (FaultKind, u16) {
        let missing = [
            "invocation of model id",
            "the provided model identifier",
            "the model identifier",
            "invalid model identifier",
            "the provided inference profile",
            "the inference profile",
            "inference profile",
            "the requested model",
            "this model",
            "model not found",
        ];
        let constraint = self.report.starts(&["1 validation error detected: value"])
            && self.report.says(&["at 'modelid' failed to satisfy constraint"]);
        if self.report.starts(&["invalid beta flag"]) || self.report.says(&["support counting tokens"]) {
            return (FaultKind::Inexpressible, 400);
        }
        if self.report.starts(&missing) || constraint {
            return (FaultKind::ModelMissing, 404);
        }
        let signature = ["invalid `signature`", "invalid signature"];
        if self.report.says(&signature) && self.report.says(&["thinking"]) {
            return (FaultKind::SignatureRefused, 400);
        }
        (FaultKind::Request, 400)
    }

    fn access(&self) -> (FaultKind, u16) {
        if self.report.starts(&["model access is denied due to invalid_payment_instrument"]) {
            return (FaultKind::Billing, 402);
        }
        let refused =
            ["authentication failed", "bearer token", "invalid api key", "the security token included"];
        if self.report.starts(&refused) {
            return (FaultKind::KeyRefused, 401);
        }
        (FaultKind::KeyForbidden, 403)
    }

    fn limited(&self) -> (FaultKind, u16) {
        let long = matches!(self.report.dimension(), Some(Dimension::Day | Dimension::Week));
        (if long { FaultKind::Quota } else { FaultKind::RateLimited }, 429)
    }

    fn is_about_a_model(&self) -> bool {
        self.report.starts(&["model access", "you don't have access to the model"])
            || self.report.says(&["foundation-model/", "inference-profile/", "specified model"])
    }

    /// Bedrock's texts: "Too many tokens, please wait before trying again.", "Too many tokens per day, ...".
    fn dimension(&self, kind: FaultKind) -> Option<Dimension> {
        if kind == FaultKind::Billing {
            return Some(Dimension::Spend);
        }
        let named = self.report.dimension();
        if kind == FaultKind::Quota {
            return named.filter(|it| matches!(it, Dimension::Day | Dimension::Week));
        }
        if kind != FaultKind::RateLimited {
            return None;
        }
        let texts = [
            ("too many tokens", Dimension::Tokens),
            ("too many requests", Dimension::Requests),
            ("your request rate", Dimension::Requests),
            ("too many connections", Dimension::Concurrent),
        ];
        let text = texts.iter().find(|(text, _)| self.report.starts(&[text]));
        named.or_else(|| text.map(|(_, dimension)| *dimension))
    }

    /// The message for the caller. Names of the pool's own resources (they hold the account's number) are left out.
    fn sentence(&self) -> String {
        if self.report.message.is_empty() {
            return "The upstream refused the request or failed, and did not say why.".to_owned();
        }
        let word = |word| if str::contains(word, "arn:") { "[arn]" } else { word };
        self.report.message.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }

    fn detail(&self, kind: FaultKind) -> String {
        let line = self.report.line();
        let mut detail = match (kind, self.status) {
            // Where no other backend can say it either, the caller reads this.
            (FaultKind::Inexpressible, _) => self.sentence().chars().take(240).collect(),
            (_, 200) => format!("{} in the stream: {line}", self.shown_name()),
            (_, status) => format!("{status} {}: {line}", self.shown_name()),
        };
        // Upstream's text goes to the operator's terminal: nothing in it may steer one or begin a line of its own.
        detail.retain(|letter| !letter.is_control());
        detail
    }

    fn shown_name(&self) -> String {
        if self.name.is_empty() { "error".to_owned() } else { self.name.chars().take(60).collect() }
    }
}

#[cfg(test)]
mod tests;
