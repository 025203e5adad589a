//! Which header lines travel on: an allow-list towards upstream, a deny-list towards the caller.
//!
//! Names are in lower case. Towards upstream only what the Messages API knows goes out, so that nothing of the caller's network
//! or credentials does; towards the caller unknown headers pass, so that new features of upstream arrive.

/// Parts of a name that betray a credential or an identity of the caller's own account.
const PRIVATE: [&str; 8] =
    ["workspace", "organization", "key", "token", "auth", "secret", "credential", "cookie"];

/// Whether a caller's request header goes upstream.
///
/// `anthropic-workspace-id` and its like name the caller's own account, which a pool key does not belong to
/// (Messages API, "optional scoping headers").
#[must_use]
pub fn forwards(name: &str) -> bool {
    match name {
        // The usual ones first: this is asked of every header of every request.
        "content-type" | "accept" | "user-agent" | "anthropic-version" | "anthropic-beta" => true,
        _ => name.starts_with("anthropic-") && !PRIVATE.iter().any(|part| name.contains(part)),
    }
}

/// Whether a header of upstream's answer reaches the caller; `expose_limits` lets the pool's own rate limits through.
///
/// Dropped: what identifies or describes the pool's account, hop-by-hop lines (RFC 9110, section 7.6.1), framing and `date`
/// (the edge sets its own), cookies, traces of content delivery networks, and names in our own namespace.
#[must_use]
pub fn reply_header_passes(name: &str, expose_limits: bool) -> bool {
    if ["anthropic-ratelimit-", "anthropic-priority-", "anthropic-fast-"]
        .iter()
        .any(|it| name.starts_with(it))
    {
        return expose_limits;
    }
    if ["cf-", "x-envoy-", "x-headgate-", "proxy-", "cdn-"].iter().any(|it| name.starts_with(it)) {
        return false;
    }
    !matches!(
        name,
        "anthropic-organization-id"
            | "anthropic-workspace-id"
            | "set-cookie"
            | "set-cookie2"
            | "www-authenticate"
            | "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "content-length"
            | "date"
            | "server"
            | "server-timing"
            | "via"
            | "age"
            | "x-cache"
            | "x-served-by"
            | "alt-svc"
            | "strict-transport-security"
            | "nel"
            | "report-to"
            | "reporting-endpoints"
            | "expect-ct"
    )
}

#[cfg(test)]
mod tests {
    use super::{forwards, reply_header_passes};

    #[test]
    fn only_what_the_api_knows_goes_upstream() {
        for name in [
            "anthropic-version",
            "anthropic-beta",
            "content-type",
            "accept",
            "user-agent",
            "anthropic-user-profile-id",
            "anthropic-dangerous-direct-browser-access",
        ] {
            assert!(forwards(name), "{name}");
        }
        for name in [
            "anthropic-workspace-id",
            "anthropic-organization-id",
            "anthropic-api-key",
            "anthropic-auth-token",
            "authorization",
            "x-api-key",
            "cookie",
            "host",
            "connection",
            "transfer-encoding",
            "accept-encoding",
            "content-encoding",
            "content-length",
            "x-headgate-priority",
            "x-stainless-timeout",
            "x-forwarded-for",
            "traceparent",
            "",
        ] {
            assert!(!forwards(name), "{name}");
        }
    }

    #[test]
    fn nothing_of_the_pool_reaches_the_caller() {
        for name in [
            "request-id",
            "content-type",
            "x-should-retry",
            "content-encoding",
            "x-new-feature",
            "retry-after",
        ] {
            assert!(reply_header_passes(name, false), "{name}");
        }
        for name in [
            "anthropic-organization-id",
            "anthropic-workspace-id",
            "set-cookie",
            "cf-ray",
            "server",
            "via",
            "x-envoy-upstream-service-time",
            "transfer-encoding",
            "content-length",
            "x-headgate-id",
            "date",
        ] {
            assert!(!reply_header_passes(name, true), "{name}");
        }
        for name in [
            "anthropic-ratelimit-requests-remaining",
            "anthropic-priority-input-tokens-limit",
            "anthropic-fast-output-tokens-reset",
        ] {
            assert!(!reply_header_passes(name, false) && reply_header_passes(name, true), "{name}");
        }
    }
}
