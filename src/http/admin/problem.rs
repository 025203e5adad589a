//! Errors of the admin API: `application/problem+json` (RFC 9457).

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderName};
use serde_json::json;

use crate::config::Kind;
use crate::config::checked::AdminRole;
use crate::failure::whole_seconds;
use crate::registry::Refusal;

/// What an operator is told.
#[derive(Debug)]
pub struct Problem(Box<Told>);

#[derive(Debug)]
struct Told {
    status: u16,
    /// Names the kind of problem, within `urn:headgate:problem:`.
    kind: &'static str,
    title: &'static str,
    detail: String,
    /// The field that is wrong, where it is one.
    field: Option<String>,
    header: Option<(HeaderName, String)>,
}

impl Problem {
    fn new(status: u16, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Told { status, kind, title, detail: detail.into(), field: None, header: None }))
    }

    /// 403: no admin token is configured.
    pub fn off() -> Self {
        let detail = "No admin token is configured, so the admin API is off; see auth.admin_tokens.";
        Self::new(403, "admin-api-off", "The admin API is off", detail)
    }

    /// 401.
    pub fn unauthorized(detail: &'static str) -> Self {
        let mut problem = Self::new(401, "unauthorized", "An admin token is required", detail);
        problem.0.header = Some((header::WWW_AUTHENTICATE, "Bearer".to_owned()));
        problem
    }

    /// 403: the token is known, its role is too small.
    pub fn forbidden(has: AdminRole, needs: AdminRole) -> Self {
        let name = |role| match role {
            AdminRole::Viewer => "viewer",
            AdminRole::Operator => "operator",
            AdminRole::Admin => "admin",
        };
        let detail = format!("This needs the role {}; the token has the role {}.", name(needs), name(has));
        Self::new(403, "forbidden", "The token's role does not allow this", detail)
    }

    /// 429: too many wrong tokens from one source.
    pub fn limited(left: Duration) -> Self {
        let detail = "Too many wrong admin tokens came from this address. Please try again later.";
        let mut problem = Self::new(429, "too-many-failures", "Too many failed authentications", detail);
        problem.0.header = Some((header::RETRY_AFTER, whole_seconds(left).to_string()));
        problem
    }

    /// 404: no such path.
    pub fn no_such_path() -> Self {
        Self::new(404, "not-found", "Not found", "There is no such resource in the admin API.")
    }

    /// 404: no such thing.
    pub fn unknown(what: &str, id: &str) -> Self {
        Self::new(404, "not-found", "Not found", format!("There is no {what} `{}`.", id.escape_debug()))
    }

    /// 405.
    pub fn method_not_allowed(mut allowed: Vec<&str>) -> Self {
        allowed.sort_unstable();
        allowed.dedup();
        let allowed = allowed.join(", ");
        let detail = format!("Use {allowed}.");
        let mut problem = Self::new(405, "method-not-allowed", "Method not allowed", detail);
        problem.0.header = Some((header::ALLOW, allowed));
        problem
    }

    /// 409: the request is sound but does not fit what is there.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, "conflict", "Conflict", detail)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "too-large",
            "The body is too large",
            format!("The body may have at most {limit} bytes."),
        )
    }

    /// 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "bad-request", "The request cannot be used", detail)
    }

    /// 400 for one field.
    pub fn field(field: &str, detail: impl Into<String>) -> Self {
        let mut problem = Self::bad_request(detail);
        problem.0.field = Some(field.escape_debug().to_string());
        problem
    }

    /// 412: it has another revision than the request says.
    pub fn changed() -> Self {
        let detail = "The resource has another revision than If-Match names: read it again.";
        Self::new(412, "precondition-failed", "The resource was changed meanwhile", detail)
    }

    /// 409: there is nothing to seal a secret with.
    pub fn no_master_key() -> Self {
        let detail = "No master key is configured, so no secret can be stored; see store.master_key.";
        Self::new(409, "no-master-key", "There is no master key", detail)
    }

    /// 409: files are changed where they are.
    pub fn of_the_files(kind: Kind, id: &str) -> Self {
        let detail = format!(
            "The {} `{}` comes from the configuration's files, which are changed there.",
            kind.name(),
            id.escape_debug()
        );
        Self::new(409, "of-the-files", "The resource comes from the configuration's files", detail)
    }

    /// 409: an idempotency key was used for something else.
    pub fn another_request() -> Self {
        let detail = "The Idempotency-Key was used for another request.";
        Self::new(409, "idempotency-conflict", "The idempotency key is taken", detail)
    }

    /// 503: the store does not take it.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(503, "store-unavailable", "The store is not available", detail);
        problem.0.header = Some((header::RETRY_AFTER, "1".to_owned()));
        problem
    }

    /// 500: a mistake of ours.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, "internal", "The answer could not be made", detail)
    }

    /// The answer.
    pub fn response(self) -> HttpResponse {
        let told = *self.0;
        let mut body = json!({
            "type": format!("urn:headgate:problem:{}", told.kind),
            "title": told.title,
            "status": told.status,
            "detail": told.detail,
        });
        if let Some(field) = told.field {
            body["field"] = field.into();
        }
        let mut response = HttpResponse::build(crate::http::respond::status(told.status));
        if let Some(header) = told.header {
            response.insert_header(header);
        }
        super::shown(&mut response).content_type("application/problem+json").body(body.to_string())
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0.field {
            Some(field) => write!(f, "{field}: {}", self.0.detail),
            None => f.write_str(&self.0.detail),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Wrong { field: Some(field), text } => Self::field(&field, text),
            Refusal::Wrong { field: None, text } => Self::bad_request(text),
            Refusal::Unknown(kind, id) => Self::unknown(kind.name(), &id),
            Refusal::Conflict(text) => Self::conflict(text),
            Refusal::OfTheFiles(kind, id) => Self::of_the_files(kind, &id),
            Refusal::Changed => Self::changed(),
            Refusal::NoMasterKey => Self::no_master_key(),
            Refusal::Repeated => Self::conflict("Another request with this Idempotency-Key is under way."),
            Refusal::Unavailable(text) => Self::unavailable(text),
        }
    }
}
