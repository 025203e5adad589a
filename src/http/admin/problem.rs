//! Errors of the admin API: `application/problem+json` (RFC 9457).

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderName};
use serde_json::json;

use crate::config::checked::AdminRole;
use crate::failure::whole_seconds;

/// What an operator is told.
#[derive(Debug)]
pub struct Problem {
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
        Self { status, kind, title, detail: detail.into(), field: None, header: None }
    }

    /// 403: no admin token is configured.
    pub fn off() -> Self {
        let detail = "No admin token is configured, so the admin API is off; see auth.admin_tokens.";
        Self::new(403, "admin-api-off", "The admin API is off", detail)
    }

    /// 401.
    pub fn unauthorized(detail: &'static str) -> Self {
        let mut problem = Self::new(401, "unauthorized", "An admin token is required", detail);
        problem.header = Some((header::WWW_AUTHENTICATE, "Bearer".to_owned()));
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
        problem.header = Some((header::RETRY_AFTER, whole_seconds(left).to_string()));
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
        allowed.dedup();
        let allowed = allowed.join(", ");
        let detail = format!("Use {allowed}.");
        let mut problem = Self::new(405, "method-not-allowed", "Method not allowed", detail);
        problem.header = Some((header::ALLOW, allowed));
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
        Self { field: Some(field.escape_debug().to_string()), ..Self::bad_request(detail) }
    }

    /// The answer.
    pub fn response(self) -> HttpResponse {
        let mut body = json!({
            "type": format!("urn:headgate:problem:{}", self.kind),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        });
        if let Some(field) = self.field {
            body["field"] = field.into();
        }
        let mut response = HttpResponse::build(crate::http::respond::status(self.status));
        if let Some(header) = self.header {
            response.insert_header(header);
        }
        super::shown(&mut response).content_type("application/problem+json").body(body.to_string())
    }
}
