//! The faults that are answers: statuses, spend limits, a CDN's page.

use std::time::Duration;

use super::bedrock::exception::Exception;
use super::clock::Clock;
use super::dialect::Dialect;
use super::error::ApiError;
use super::fault::{Fault, FaultKind, RetrySyntax};
use super::organization::ramp_error;
use super::reply::Reply;
use super::vertex::identity;
use super::vertex::status::Status;
use super::world::seconds;

/// What a mishap may name.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// The model asked for.
    pub model: &'a str,
    /// The organization's id.
    pub organization: &'a str,
    /// The clock, for dates.
    pub clock: &'a Clock,
    /// The API that answers.
    pub dialect: Dialect,
    /// Google's errors come in an array.
    pub wraps: bool,
}

/// The answer of a fault; `None` for faults that happen to the real answer.
pub fn reply(fault: &Fault, scene: Scene<'_>) -> Option<Reply> {
    let mut reply = if fault.kind == FaultKind::Html {
        Reply::whole(502, "text/html; charset=UTF-8", PAGE)
    } else if fault.kind == FaultKind::Raw {
        Reply::json(200, String::new())
    } else if fault.kind == FaultKind::Exception {
        exception(fault, Exception::usual("InternalServerException"))
    } else if let Some(status) = googles(fault.kind) {
        google(fault, status, scene.wraps)
    } else {
        spoken(error(fault.kind, scene)?, fault, scene)
    };
    let knobs = &fault.knobs;
    if let Some(status) = knobs.status {
        reply.status = status;
    }
    if let Some(body) = &knobs.body {
        reply.pieces[0].bytes = body.clone().into();
    }
    retry_after(fault, scene, &mut reply);
    for (name, value) in &knobs.headers {
        reply.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        reply.header(name, value);
    }
    Some(reply)
}

/// An error of the first-party API in the words of the one that answers.
pub fn spoken(error: ApiError, fault: &Fault, scene: Scene<'_>) -> Reply {
    match scene.dialect {
        Dialect::Anthropic | Dialect::Mantle => Reply::error(&adjusted(error, fault), scene.request_id),
        Dialect::Bedrock => exception(fault, Exception::for_status(error.status)),
        Dialect::Vertex => google(fault, Status::for_code(error.status), scene.wraps),
        Dialect::Identity => identity::mishap(fault.kind, error.status),
    }
}

fn exception(fault: &Fault, usual: Exception) -> Reply {
    let knobs = &fault.knobs;
    let mut exception = knobs.error_type.as_deref().map_or(usual, Exception::usual);
    if let Some(message) = &knobs.message {
        exception.message.clone_from(message);
    }
    exception.reply(&knobs.shape)
}

/// The kinds that are Google's alone.
fn googles(kind: FaultKind) -> Option<Status> {
    if kind == FaultKind::GoogleError {
        Some(Status::usual("INTERNAL"))
    } else if kind == FaultKind::SharedCapacity {
        Some(Status::usual("RESOURCE_EXHAUSTED"))
    } else if kind == FaultKind::ProvisionedThroughput {
        Some(Status::new("RESOURCE_EXHAUSTED", "Too many requests. Exceeded the Provisioned Throughput."))
    } else {
        None
    }
}

fn google(fault: &Fault, usual: Status, wraps: bool) -> Reply {
    let knobs = &fault.knobs;
    let mut status = knobs.error_type.as_deref().map_or(usual, Status::usual);
    if let Some(message) = &knobs.message {
        status.message.clone_from(message);
    }
    if let Some(code) = knobs.status {
        status.code = code;
    }
    if let Some(wait) = knobs.retry_after {
        status = status.retry_in(seconds(wait));
    }
    status.reply(knobs.array.unwrap_or(wraps))
}

fn adjusted(mut error: ApiError, fault: &Fault) -> ApiError {
    let knobs = &fault.knobs;
    if let Some(status) = knobs.status {
        error.status = status;
    }
    if let Some(kind) = &knobs.error_type {
        error.kind.clone_from(kind);
    }
    if let Some(message) = &knobs.message {
        error.message.clone_from(message);
    }
    if knobs.error_code.is_some() {
        error.code.clone_from(&knobs.error_code);
    }
    error
}

/// The envelope of a kind; `None` where there is none.
fn error(kind: FaultKind, scene: Scene<'_>) -> Option<ApiError> {
    let date = scene.clock.next_month();
    let error = match kind {
        FaultKind::InvalidKey => ApiError::new(401, "invalid x-api-key"),
        FaultKind::Billing => ApiError::new(402, "There is a problem with your organization's billing."),
        FaultKind::Forbidden => {
            ApiError::new(403, "Your API key does not have permission to use this resource.")
        }
        FaultKind::ModelNotFound => ApiError::new(404, format!("model: {}", scene.model)),
        FaultKind::NotFound => ApiError::new(404, "Not found"),
        FaultKind::RateLimited => {
            let id = scene.organization;
            let message = format!("This request would exceed the rate limit for your organization ({id}).");
            ApiError::new(429, message)
        }
        FaultKind::EnforcedSpendLimit => {
            let message =
                format!("Your organization has reached its monthly spend limit. Access returns on {date}.");
            ApiError::new(429, message).code("enforced_spend_limit_reached")
        }
        FaultKind::RampLimit => ramp_error(scene.organization),
        FaultKind::UsageLimit => ApiError::invalid(format!(
            "You have reached your specified API usage limits. You will regain access on {date} at 00:00 UTC."
        )),
        FaultKind::WorkspaceUsageLimit => ApiError::invalid(format!(
            "You have reached your specified workspace API usage limits. You will regain access on {date} at 00:00 UTC."
        )),
        FaultKind::LowCredit => ApiError::invalid(
            "Your credit balance is too low to access the Anthropic API. Add credits under Plans & Billing.",
        ),
        FaultKind::OnHold => ApiError::invalid("This organization is on hold.").code("organization_on_hold"),
        FaultKind::BadRequest => ApiError::invalid("messages: the request cannot be processed"),
        FaultKind::TooLarge | FaultKind::Early413 => too_large(),
        FaultKind::Unprocessable => ApiError::new(422, "The request is well formed but cannot be processed."),
        FaultKind::ServerError => ApiError::new(500, "Internal server error"),
        FaultKind::Unavailable => ApiError::new(503, "The service is temporarily unavailable."),
        FaultKind::Timeout => ApiError::new(504, "The request timed out."),
        FaultKind::Overloaded => ApiError::new(529, "Overloaded"),
        FaultKind::None | FaultKind::Html | FaultKind::Raw | FaultKind::CloseBeforeHead => return None,
        FaultKind::ResetBeforeHead | FaultKind::StallBeforeHead | FaultKind::Reset | FaultKind::Fin => {
            return None;
        }
        FaultKind::Close | FaultKind::EndEarly | FaultKind::Stall | FaultKind::Pings => return None,
        FaultKind::ErrorEvent | FaultKind::HoldOpen | FaultKind::DuplicateStop | FaultKind::GarbageHead => {
            return None;
        }
        FaultKind::Garbage | FaultKind::WrongContentType | FaultKind::IncompleteJson => return None,
        FaultKind::Unframed | FaultKind::EarlyHints | FaultKind::CloseAfter | FaultKind::ByteWrites => {
            return None;
        }
        FaultKind::SlowRead | FaultKind::Delay | FaultKind::Exception | FaultKind::GoogleError => {
            return None;
        }
        FaultKind::SharedCapacity | FaultKind::ProvisionedThroughput => return None,
        FaultKind::ExceptionFrame | FaultKind::ErrorFrame | FaultKind::CorruptCrc => return None,
        FaultKind::OversizedFrame | FaultKind::KeepAlives => return None,
    };
    Some(error)
}

/// A body beyond the limit.
pub fn too_large() -> ApiError {
    ApiError::new(413, "Request exceeds the maximum size")
}

/// Writes `retry-after`. Rate and ramp limits say 1 second if nothing else is asked for; spend limits never say, nor do
/// the clouds; Google says it in the body.
fn retry_after(fault: &Fault, scene: Scene<'_>, reply: &mut Reply) {
    if scene.dialect == Dialect::Vertex || googles(fault.kind).is_some() {
        return;
    }
    let clock = scene.clock;
    let limits = matches!(fault.kind, FaultKind::RateLimited | FaultKind::RampLimit);
    let usual = (limits && scene.dialect == Dialect::Anthropic).then_some(1.0);
    let Some(seconds) = fault.knobs.retry_after.or(usual) else { return };
    match fault.knobs.retry_syntax.as_ref().unwrap_or(&RetrySyntax::Integer) {
        RetrySyntax::Integer => reply.header("retry-after", format!("{:.0}", seconds.ceil())),
        RetrySyntax::Fractional => reply.header("retry-after", format!("{seconds:.3}")),
        RetrySyntax::HttpDate => {
            let wait = Duration::from_secs_f64(seconds.clamp(0.0, 1e9));
            reply.header("retry-after", clock.http_date(clock.now() + wait));
        }
        RetrySyntax::Milliseconds => reply.header("retry-after-ms", format!("{:.0}", seconds * 1_000.0)),
        RetrySyntax::None => {}
    }
}

/// What a CDN says when it cannot reach its origin.
pub const PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad \
                        Gateway</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: &str) -> Option<Reply> {
        answer_in(Dialect::Anthropic, json)
    }

    fn answer_in(dialect: Dialect, json: &str) -> Option<Reply> {
        let clock = Clock::start();
        let scene = Scene {
            request_id: "req_1",
            model: "claude-x",
            organization: "org",
            clock: &clock,
            dialect,
            wraps: true,
        };
        reply(&serde_json::from_str(json).unwrap(), scene)
    }

    fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
        reply.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[tokio::test]
    async fn retry_after_is_written_in_the_syntax_asked_for() {
        let of = |syntax: &str| {
            answer(&format!(r#"{{"kind":"rate_limited","retry_after":2.5,"retry_syntax":"{syntax}"}}"#))
                .unwrap()
        };
        assert_eq!(header(&of("integer"), "retry-after"), Some("3"));
        assert_eq!(header(&of("fractional"), "retry-after"), Some("2.500"));
        assert_eq!(header(&of("milliseconds"), "retry-after-ms"), Some("2500"));
        assert!(header(&of("http_date"), "retry-after").unwrap().ends_with("GMT"));
        assert_eq!(header(&of("none"), "retry-after"), None);
        assert_eq!(header(&answer("\"enforced_spend_limit\"").unwrap(), "retry-after"), None);
    }

    #[tokio::test]
    async fn a_missing_model_is_named_and_connection_faults_are_no_answers() {
        let reply = answer("\"model_not_found\"").unwrap();
        assert_eq!(reply.status, 404);
        assert!(String::from_utf8_lossy(&reply.pieces[0].bytes).contains("claude-x"));
        assert!(answer("\"reset\"").is_none());
    }

    #[tokio::test]
    async fn each_api_tells_the_same_fault_in_its_own_words() {
        let told = |dialect, fault: &str| {
            let reply = answer_in(dialect, fault).unwrap();
            (reply.status, String::from_utf8_lossy(&reply.pieces[0].bytes).into_owned())
        };
        let (status, body) = told(Dialect::Bedrock, "\"overloaded\"");
        assert!(status == 503 && body.contains("Bedrock is unable to process your request"), "{body}");
        let (status, body) = told(Dialect::Vertex, r#"{"kind":"unavailable","retry_after":12}"#);
        assert!(status == 503 && body.starts_with('[') && body.contains("\"12s\""), "{body}");
        let (status, body) = told(Dialect::Identity, "\"server_error\"");
        assert!(status == 500 && body.contains("internal_failure"), "{body}");
        assert_eq!(told(Dialect::Mantle, "\"overloaded\"").0, 529);
        assert_eq!(header(&answer_in(Dialect::Bedrock, "\"rate_limited\"").unwrap(), "retry-after"), None);
        let (status, body) = told(Dialect::Vertex, r#"{"kind":"provisioned_throughput","array":false}"#);
        assert!(
            status == 429 && body.starts_with('{') && body.contains("Exceeded the Provisioned Throughput")
        );
    }

    #[tokio::test]
    async fn a_raw_answer_is_what_it_says() {
        let raw = r#"{"kind":"raw","status":418,"headers":[["content-type","text/tea"]],"body":"short"}"#;
        let reply = answer(raw).unwrap();
        assert_eq!((reply.status, header(&reply, "content-type")), (418, Some("text/tea")));
        assert_eq!(reply.pieces[0].bytes, "short");
    }
}
