//! An error body as Google writes it: `{"error":{"code","message","status","details"}}`, or that in a list.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::anthropic::message::Report;

/// The facts of an error body; texts are empty where it does not say.
#[derive(Debug, Default)]
pub(super) struct Status {
    /// `error.status`, such as `RESOURCE_EXHAUSTED`.
    pub word: String,
    /// `error.message`, else the body itself where it is short plain text.
    pub message: String,
    /// The `reason` of an `ErrorInfo`.
    pub reason: String,
    /// The quota metrics that details name, in lower case.
    pub metric: String,
    /// Whether details say that the quota is zero.
    pub quota_is_nothing: bool,
    /// The wait of a `RetryInfo`.
    pub retry_delay: Option<Duration>,
    /// Whether it is JSON of an API, not a page of a web server.
    pub is_object: bool,
    /// The Messages API's own envelope, where it is one.
    pub envelope: Option<Bytes>,
    report: Report,
}

impl Status {
    /// Reads a body; anything is acceptable.
    pub fn read(body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let (value, body) = if let Value::Array(list) = value {
            let first = list.into_iter().find(Value::is_object).unwrap_or_default();
            let bytes = serde_json::to_vec(&first).unwrap_or_default();
            (first, Bytes::from(bytes))
        } else {
            (value, Bytes::copy_from_slice(body))
        };
        let report = Report::read(&body);
        let error = value.get("error").unwrap_or(&Value::Null);
        let mut status = Self {
            word: text(error, "status"),
            message: report.message.clone(),
            is_object: value.is_object(),
            envelope: report.is_envelope.then_some(body),
            report,
            ..Self::default()
        };
        for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
            status.detail(detail);
        }
        status
    }

    /// One of google.rpc's details (`error_details.proto`).
    fn detail(&mut self, detail: &Value) {
        let of = text(detail, "@type");
        if of.ends_with("google.rpc.RetryInfo") {
            self.retry_delay = text(detail, "retryDelay").strip_suffix('s').and_then(seconds);
        }
        if of.ends_with("google.rpc.ErrorInfo") {
            self.reason = text(detail, "reason");
            let metadata = detail.get("metadata").unwrap_or(&Value::Null);
            self.metric.push_str(&text(metadata, "quota_metric").to_lowercase());
            self.quota_is_nothing |= text(metadata, "quota_limit_value") == "0";
        }
        if of.ends_with("google.rpc.QuotaFailure") {
            for violation in detail.get("violations").and_then(Value::as_array).into_iter().flatten() {
                self.metric.push_str(&text(violation, "quotaMetric").to_lowercase());
                self.metric.push_str(&text(violation, "subject").to_lowercase());
                self.quota_is_nothing |= text(violation, "quotaValue") == "0";
            }
        }
    }

    /// Whether the message starts like one of `texts` (lower case).
    pub fn starts(&self, texts: &[&str]) -> bool {
        self.report.starts(texts)
    }

    /// Whether the message says one of `texts` (lower case) somewhere.
    pub fn says(&self, texts: &[&str]) -> bool {
        self.report.says(texts)
    }

    /// Whether it is about a model and not about the project or the key as a whole.
    pub fn is_about_a_model(&self) -> bool {
        self.says(&["publisher model", "/models/", "this model", "the model", "partner model"])
    }

    /// Whether a policy of the project's organization forbids it.
    pub fn is_about_policy(&self) -> bool {
        self.says(&["organization policy", "org policy", "constraints/", "allowedpartnermodelfeatures"])
    }

    /// The message as one short line for an operator.
    pub fn line(&self) -> String {
        self.report.line()
    }

    /// The message without `project` and without any other project's name or number behind `projects/`.
    pub fn without_project(&self, project: &str) -> String {
        let message =
            if project.is_empty() { self.message.clone() } else { self.message.replace(project, "-") };
        let mut pieces = message.split("projects/");
        let mut clean = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let end = piece.find(|letter: char| !(letter.is_alphanumeric() || "-_:.".contains(letter)));
            clean.push_str("projects/-");
            clean.push_str(&piece[end.unwrap_or(piece.len())..]);
        }
        clean
    }
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Protobuf's JSON of a duration, its unit taken off: decimal seconds.
fn seconds(text: &str) -> Option<Duration> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { Duration::try_from_secs_f64(text.parse().ok()?).ok() } else { None }
}
