//! The listeners: addresses, TLS, and whether each may be where it is.

use std::net::SocketAddr;
use std::time::Duration;

use super::findings::Findings;
use super::pem;
use crate::config::checked::{Auth, Server, TenantAuth};
use crate::config::raw;

const DAY_S: u64 = 86_400;

/// `server`.
pub fn server(raw: &raw::Server, findings: &mut Findings<'_>) -> Server {
    findings.within("server.workers", raw.workers, 0..=1024);
    findings.within("server.max_body_bytes", raw.max_body_bytes, 1..=1 << 30);
    findings.within("server.max_nesting", raw.max_nesting, 1..=10_000);
    findings.within("server.max_buffered_bytes", raw.max_buffered_bytes, 1..=1 << 40);
    findings.within("server.early_answer_ms", raw.early_answer_ms, 0..=60_000);
    findings.within("server.early_answer_bytes", raw.early_answer_bytes, 0..=1 << 40);
    findings.within("server.drain_delay_s", raw.drain_delay_s, 0..=DAY_S);
    findings.within("server.drain_timeout_s", raw.drain_timeout_s, 0..=DAY_S);
    findings.within("server.reload_debounce_ms", raw.reload_debounce_ms, 1..=60_000);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    Server {
        listen: address("server.listen", &raw.listen, findings),
        admin_listen: address("server.admin_listen", &raw.admin_listen, findings),
        workers: if raw.workers == 0 { cores.min(4) } else { raw.workers },
        max_body_bytes: usize::try_from(raw.max_body_bytes).unwrap_or(usize::MAX),
        max_nesting: usize::try_from(raw.max_nesting).unwrap_or(usize::MAX),
        max_buffered_bytes: usize::try_from(raw.max_buffered_bytes).unwrap_or(usize::MAX),
        early_answer: Duration::from_millis(raw.early_answer_ms),
        early_answer_bytes: raw.early_answer_bytes,
        drain_delay: Duration::from_secs(raw.drain_delay_s),
        drain_timeout: Duration::from_secs(raw.drain_timeout_s),
        reload_debounce: Duration::from_millis(raw.reload_debounce_ms),
        allow_private_upstreams: raw.allow_private_upstreams,
        tls: raw.tls.as_ref().and_then(|tls| pem::listener("server.tls", tls, findings)),
        admin_tls: raw.admin_tls.as_ref().and_then(|tls| pem::listener("server.admin_tls", tls, findings)),
    }
}

fn address(path: &str, text: &str, findings: &mut Findings<'_>) -> SocketAddr {
    text.parse().unwrap_or_else(|_| {
        findings.wrong(
            path,
            "is not an IP address with a port, expected one such as 127.0.0.1:8080 or [::]:8080",
        );
        SocketAddr::from(([127, 0, 0, 1], 0))
    })
}

/// Each listener by itself: on the network it needs authentication, or the process does not start. True where that hangs on the
/// tenants that an existing store may hold.
pub fn judge_listeners(
    server: &Server,
    auth: &Auth,
    (tenants, stored): (usize, bool),
    findings: &mut Findings<'_>,
) -> bool {
    let mut exposed = false;
    if server.listen == server.admin_listen && server.listen.port() != 0 {
        findings.wrong("server.admin_listen", "is the address of server.listen, expected one of its own");
    }
    let loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
    match (auth.tenants, tenants, loopback(server.listen)) {
        (TenantAuth::Open, ..) => {
            let text = "clients are never asked for a key: whoever reaches server.listen spends the pool";
            findings.warn("auth.tenants", text);
        }
        (TenantAuth::Required, 0, true) => {
            let text = "there are no tenants: whoever reaches this loopback address spends the pool";
            findings.warn("server.listen", text);
        }
        (TenantAuth::Required, 0, false) if stored => {
            exposed = true;
            let text =
                "is on the network and no tenant is configured: without one in the store nothing is served";
            findings.warn("server.listen", text);
        }
        (TenantAuth::Required, 0, false) => {
            let text = "is on the network but there are no tenants, expected a loopback address, or tenants with keys";
            findings.wrong("server.listen", text);
        }
        (TenantAuth::Required, _, _) => {}
    }
    if !auth.admin_tokens.is_empty() {
        return exposed;
    }
    if loopback(server.admin_listen) {
        findings.warn("auth.admin_tokens", "none is set: the admin API is off");
    } else {
        let text = "is on the network but no admin token is set, expected a loopback address, or a token in \
                    auth.admin_tokens that resolves";
        findings.wrong("server.admin_listen", text);
    }
    exposed
}
