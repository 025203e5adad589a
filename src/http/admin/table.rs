//! The one table of the admin API: every route with its role, what it takes and gives, and what it does.
//!
//! The OpenAPI document is made from it, and a request is served by nothing else.

use futures_util::future::LocalBoxFuture;
use serde_json::Value;

use super::problem::Problem;
use super::{Answer, Asked};
use super::{
    accounts, audit, backends, events, groups, keys, openapi, reload, resources, status, transfer, trial,
};
use crate::config::Kind;
use crate::config::checked::AdminRole;

/// What answers a route at once.
pub type Now = fn(Asked<'_>) -> Result<Value, Problem>;
/// What answers it after a wait.
pub type Later = for<'a> fn(Asked<'a>) -> LocalBoxFuture<'a, Result<Answer, Problem>>;

/// What a route does.
pub enum Act {
    /// Reads.
    Now(Now),
    /// Changes live state, which is written to the audit trail with what `show` says before and after.
    Operate {
        /// As the audit trail names it.
        action: &'static str,
        /// Does it.
        act: Now,
        /// Reads the same resource.
        show: Now,
    },
    /// Waits for the store or an upstream.
    Later(Later),
}

/// What a body may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// None, or an empty object.
    Nothing,
    /// A new resource of the route's kind.
    New,
    /// Some options of one.
    Patch,
    /// A schema of [`super::views`].
    Named(&'static str),
}

/// What an answer holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// A page of this schema.
    List(&'static str),
    /// This schema.
    One(&'static str),
    /// Another media type.
    Other(&'static str),
}

/// One line of the table.
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// Segments after `/admin/v1`; `{}` stands for any one.
    pub path: &'static str,
    /// The least role.
    pub role: AdminRole,
    /// What it is about.
    pub kind: Option<Kind>,
    /// What the body may be.
    pub takes: Takes,
    /// What the answer holds.
    pub gives: Gives,
    /// What it does.
    pub act: Act,
    /// In a sentence.
    pub says: &'static str,
}

impl Route {
    /// Whether it takes `dry_run`.
    pub fn can_be_dry(&self) -> bool {
        self.role == AdminRole::Admin && self.kind.is_some() && self.method != "GET"
    }

    /// Whether it makes something new.
    pub fn creates(&self) -> bool {
        self.takes == Takes::New
    }

    const fn about(self, kind: Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }
}

const fn read(path: &'static str, gives: Gives, act: Now, says: &'static str) -> Route {
    let (method, role) = ("GET", AdminRole::Viewer);
    Route { method, path, role, kind: None, takes: Takes::Nothing, gives, act: Act::Now(act), says }
}

const fn wait(path: &'static str, gives: Gives, act: Later, says: &'static str) -> Route {
    let (method, role) = ("GET", AdminRole::Viewer);
    Route { method, path, role, kind: None, takes: Takes::Nothing, gives, act: Act::Later(act), says }
}

/// A route on live state: path, schema, what it does and reads, action, sentence.
const fn operate(
    path: &'static str,
    gives: &'static str,
    acts: (Now, Now),
    action: &'static str,
    says: &'static str,
) -> Route {
    let act = Act::Operate { action, act: acts.0, show: acts.1 };
    let (method, role) = ("POST", AdminRole::Operator);
    Route { method, path, role, kind: None, takes: Takes::Nothing, gives: Gives::One(gives), act, says }
}

const fn write(
    method: &'static str,
    path: &'static str,
    gives: &'static str,
    act: Later,
    says: &'static str,
) -> Route {
    let role = AdminRole::Admin;
    Route {
        method,
        path,
        role,
        kind: None,
        takes: Takes::Nothing,
        gives: Gives::One(gives),
        act: Act::Later(act),
        says,
    }
}

const fn with(route: Route, takes: Takes) -> Route {
    Route { takes, ..route }
}

/// The three writes of a kind at these paths.
macro_rules! writes {
    ($kind:expr, $many:literal, $one:literal, $gives:literal) => {
        [
            with(write("POST", $many, $gives, resources::create, "Makes a new one."), Takes::New)
                .about($kind),
            with(
                write("PATCH", $one, $gives, resources::patch, "Changes options; null takes one away."),
                Takes::Patch,
            )
            .about($kind),
            write("DELETE", $one, "Deleted", resources::delete, "Takes it away.").about($kind),
        ]
    };
}

const READS: [Route; 23] = [
    wait("/usage", Gives::One("Sums"), accounts::sums, "Usage and cost, summed by what you name."),
    wait("/usage/records", Gives::One("Records"), accounts::records, "Usage and cost, request by request."),
    read("/openapi.json", Gives::One("Anything"), openapi::get, "This document."),
    read("/status", Gives::One("Status"), status::get, "The process at a glance."),
    wait("/events", Gives::Other("text/event-stream"), events::stream, "What happens, as it happens."),
    wait("/audit", Gives::List("AuditEntry"), audit::list, "Who changed what, the newest first."),
    write(
        "GET",
        "/export",
        "Anything",
        transfer::export,
        "Everything as a configuration file's tree, without secrets.",
    ),
    read("/keys", Gives::List("Key"), keys::list, "All keys."),
    wait("/keys/{}", Gives::One("Key"), resources::get, "One key.").about(Kind::Key),
    read("/backends", Gives::List("Backend"), backends::list, "All backends."),
    wait("/backends/{}", Gives::One("Backend"), resources::get, "One backend.").about(Kind::Backend),
    read("/groups", Gives::List("Group"), groups::list, "All limit groups."),
    wait("/groups/{}", Gives::One("Group"), resources::get, "One limit group.").about(Kind::Group),
    read("/routes", Gives::List("Route"), resources::list, "All routes as they match.").about(Kind::Route),
    wait("/routes/{}", Gives::One("Route"), resources::get, "One route.").about(Kind::Route),
    read("/tenants", Gives::List("Tenant"), resources::list, "All tenants.").about(Kind::Tenant),
    wait("/tenants/{}", Gives::One("Tenant"), resources::get, "One tenant.").about(Kind::Tenant),
    read("/tokens", Gives::List("Token"), resources::list, "All admin tokens.").about(Kind::Token),
    wait("/tokens/{}", Gives::One("Token"), resources::get, "One admin token.").about(Kind::Token),
    read("/reload", Gives::One("LastReload"), status::last_reload, "The last reload."),
    write("POST", "/reload", "Reloaded", reload::ask, "Reads the configuration again."),
    write("POST", "/reseal", "Resealed", transfer::reseal, "Seals every secret with the newest master key."),
    with(
        write("POST", "/keys/import", "Imported", transfer::import, "Makes up to 1000 keys, each by itself."),
        Takes::Named("Import"),
    )
    .about(Kind::Key),
];

const ACTS: [Route; 9] = [
    with(
        operate(
            "/keys/{}/park",
            "Key",
            (keys::park, keys::get),
            "park",
            "Keeps a key from being used for a time.",
        ),
        Takes::Named("ParkKey"),
    ),
    operate("/keys/{}/unpark", "Key", (keys::unpark, keys::get), "unpark", "Lifts the key's own parks."),
    operate("/keys/{}/enable", "Key", (keys::enable, keys::get), "enable", "Lets a key be used again."),
    operate("/keys/{}/disable", "Key", (keys::disable, keys::get), "disable", "Keeps a key from being used."),
    operate(
        "/keys/{}/drain",
        "Key",
        (keys::drain, keys::get),
        "drain",
        "Lets what runs finish, and gives it nothing new.",
    ),
    operate(
        "/groups/{}/unpark",
        "Group",
        (groups::unpark, groups::get),
        "unpark",
        "Lifts the parks its keys share.",
    ),
    with(
        operate(
            "/backends/{}/breaker",
            "Backend",
            (backends::breaker, backends::get),
            "breaker",
            "Forces a breaker.",
        ),
        Takes::Named("ForceBreaker"),
    ),
    Route {
        role: AdminRole::Operator,
        ..write(
            "POST",
            "/keys/{}/test",
            "Tested",
            trial::test,
            "Asks upstream for something free with the key.",
        )
    },
    with(
        write("POST", "/keys/{}/rotate", "Key", resources::rotate, "Puts another credential in place."),
        Takes::Named("Credential"),
    )
    .about(Kind::Key),
];

const ROTATIONS: [Route; 2] = [
    write(
        "POST",
        "/tenants/{}/rotate",
        "NewTenant",
        resources::rotate,
        "Makes a new key; the old one ends now.",
    )
    .about(Kind::Tenant),
    write(
        "POST",
        "/tokens/{}/rotate",
        "NewToken",
        resources::rotate,
        "Makes a new token; the old one ends now.",
    )
    .about(Kind::Token),
];

const KEYS: [Route; 3] = writes!(Kind::Key, "/keys", "/keys/{}", "Key");
const BACKENDS: [Route; 3] = writes!(Kind::Backend, "/backends", "/backends/{}", "Backend");
const GROUPS: [Route; 3] = writes!(Kind::Group, "/groups", "/groups/{}", "Group");
const ROUTES_OF_MODELS: [Route; 3] = writes!(Kind::Route, "/routes", "/routes/{}", "Route");
const TENANTS: [Route; 3] = writes!(Kind::Tenant, "/tenants", "/tenants/{}", "NewTenant");
const TOKENS: [Route; 3] = writes!(Kind::Token, "/tokens", "/tokens/{}", "NewToken");

/// Everything there is, in groups; a fixed segment stands before a pattern that fits it too.
pub static TABLE: [&[Route]; 9] =
    [&READS, &ACTS, &ROTATIONS, &KEYS, &BACKENDS, &GROUPS, &ROUTES_OF_MODELS, &TENANTS, &TOKENS];

/// Every route.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    TABLE.iter().flat_map(|routes| routes.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_needs_a_viewer_and_every_write_more() {
        for route in routes() {
            let reads = route.method == "GET" && route.path != "/export";
            assert_eq!(reads, route.role == AdminRole::Viewer, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn no_route_is_there_twice() {
        let mut seen = std::collections::BTreeSet::new();
        assert!(routes().all(|route| seen.insert((route.method, route.path))));
    }
}
