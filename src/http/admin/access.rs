//! Who operates: a bearer token -> an operator and its role.
//!
//! Tokens are compared by SHA-256 digest, all of them and in constant time. A source that keeps presenting wrong ones is
//! refused unheard for the rest of its minute; sources are counted in a bounded map.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use crate::auth::bearer;
use crate::clock::Moment;
use crate::config::checked::{AdminRole, Auth};
use crate::registry::Actor;

/// Sources remembered; past it the one whose minute ends first is forgotten.
const MAX_SOURCES: usize = 1024;
/// How long wrong tokens count.
const WINDOW: Duration = Duration::from_secs(60);

/// An authenticated operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The token's name.
    pub name: String,
    /// What it may do.
    pub role: AdminRole,
}

impl Operator {
    /// As the registry and the audit trail know it.
    pub fn actor(&self, source: Option<IpAddr>) -> Actor {
        let role = match self.role {
            AdminRole::Viewer => "viewer",
            AdminRole::Operator => "operator",
            AdminRole::Admin => "admin",
        };
        Actor { name: self.name.clone(), role, source: source.map(|address| address.to_string()) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    until: Moment,
}

/// Failed authentications by source.
#[derive(Debug, Default)]
pub struct Access(Mutex<HashMap<Option<IpAddr>, Failures>>);

impl Access {
    /// Who presents `credentials` (the first `Authorization` header, and whether there are more).
    pub fn operator(
        &self,
        auth: &Auth,
        credentials: (Option<&[u8]>, bool),
        source: Option<IpAddr>,
        now: Moment,
    ) -> Result<Operator, Problem> {
        if auth.admin_tokens.is_empty() {
            return Err(Problem::off());
        }
        let source = source.map(network);
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = failures.get(&source)
            && known.count >= auth.admin_failures_per_minute
            && now < known.until
        {
            return Err(Problem::limited(known.until.since(now)));
        }
        let (Some(header), several) = credentials else {
            return Err(Problem::unauthorized("Send the header Authorization: Bearer TOKEN."));
        };
        let known = if several { None } else { bearer(header).and_then(|token| find(auth, token)) };
        known.ok_or_else(|| {
            count(&mut failures, source, now);
            Problem::unauthorized("The admin token is not known.")
        })
    }
}

/// All tokens are compared, so that the time tells nothing.
fn find(auth: &Auth, token: &[u8]) -> Option<Operator> {
    let presented = Sha256::digest(token);
    let mut found = None;
    for known in &auth.admin_tokens {
        if bool::from(known.digest.as_slice().ct_eq(presented.as_slice())) {
            found = Some(Operator { name: known.name.clone(), role: known.role });
        }
    }
    found
}

fn count(failures: &mut HashMap<Option<IpAddr>, Failures>, source: Option<IpAddr>, now: Moment) {
    if failures.len() >= MAX_SOURCES && !failures.contains_key(&source) {
        failures.retain(|_, known| now < known.until);
        let first = failures.iter().min_by_key(|(_, known)| known.until).map(|(source, _)| *source);
        if let (true, Some(first)) = (failures.len() >= MAX_SOURCES, first) {
            failures.remove(&first);
        }
    }
    let known = failures.entry(source).or_insert(Failures { count: 0, until: now + WINDOW });
    if now >= known.until {
        *known = Failures { count: 0, until: now + WINDOW };
    }
    known.count += 1;
}

/// The source that counts as one: an IPv4 address, or the /64 that one IPv6 host can roam in.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::checked::{AdminToken, TenantAuth};

    fn auth() -> Auth {
        let token = |name: &str, role| AdminToken {
            name: name.to_owned(),
            digest: Sha256::digest(format!("token-of-{name}")).into(),
            role,
        };
        let admin_tokens = vec![token("eve", AdminRole::Viewer), token("ada", AdminRole::Admin)];
        Auth { tenants: TenantAuth::Open, admin_tokens, admin_failures_per_minute: 3 }
    }

    fn ask(access: &Access, header: &str, source: &str, at_s: u64) -> Result<Operator, u16> {
        let now = Moment::from_micros(at_s * 1_000_000);
        let source = Some(source.parse().unwrap());
        let asked = access.operator(&auth(), (Some(header.as_bytes()), false), source, now);
        asked.map_err(|problem| problem.response().status().as_u16())
    }

    #[test]
    fn a_token_is_its_operator_and_nothing_else_is() {
        let access = Access::default();
        let ada = Operator { name: "ada".to_owned(), role: AdminRole::Admin };
        assert_eq!(ask(&access, "Bearer token-of-ada", "10.0.0.1", 0), Ok(ada));
        for (at, header) in
            ["Bearer token-of-ad", "Bearer token-of-adaa", "Bearer ", "Basic token-of-ada", ""]
                .iter()
                .enumerate()
        {
            assert_eq!(ask(&access, header, &format!("10.0.1.{at}"), 0), Err(401), "{header}");
        }
        let missing = access.operator(&auth(), (None, false), None, Moment::default()).unwrap_err();
        assert_eq!(missing.response().status(), 401);
        let twice = access.operator(&auth(), (Some(b"Bearer token-of-ada"), true), None, Moment::default());
        assert_eq!(twice.unwrap_err().response().status(), 401);
        let off = Auth { admin_tokens: Vec::new(), ..auth() };
        let off = access.operator(&off, (Some(b"Bearer "), false), None, Moment::default()).unwrap_err();
        assert_eq!(off.response().status(), 403);
    }

    #[test]
    fn a_source_that_guesses_is_refused_for_its_minute_and_no_other_is() {
        let access = Access::default();
        for at in 0..3 {
            assert_eq!(ask(&access, "Bearer guess", "2001:db8::1", at), Err(401));
        }
        assert_eq!(ask(&access, "Bearer token-of-ada", "2001:db8::2", 59), Err(429), "the same /64");
        assert!(ask(&access, "Bearer token-of-ada", "2001:db8:0:1::1", 59).is_ok());
        assert!(ask(&access, "Bearer token-of-ada", "2001:db8::2", 60).is_ok(), "the minute is over");
    }

    #[test]
    fn the_map_of_sources_is_bounded() {
        let access = Access::default();
        for number in 0..3 * u32::try_from(MAX_SOURCES).unwrap() {
            let source = std::net::Ipv4Addr::from_bits(number).to_string();
            assert_eq!(ask(&access, "Bearer guess", &source, 1), Err(401));
        }
        assert_eq!(access.0.lock().unwrap().len(), MAX_SOURCES);
    }
}
