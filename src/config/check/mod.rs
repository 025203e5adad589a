//! From the shape of the files to [`Settings`]: every value judged, every reference resolved, every problem noted.
//!
//! Checks go on after a problem so that one run reports all of them; a value put in place of a wrong one is never seen,
//! because settings with any problem are thrown away.

mod backends;
mod capabilities;
mod keys;
mod pem;
mod prices;
mod routes;
mod sections;
mod server;
mod special;
mod store;
mod tables;
mod tenants;
mod url;

mod findings;

pub use findings::{Findings, Outcome, StoredParts};
pub use special::is_special;
pub use url::{base_url, is_loopback};

use std::path::PathBuf;

use super::checked::Settings;
use super::raw::Raw;

/// Judges `raw`; what is wrong is left in `findings`, in which case the settings are of no use.
pub fn settings(raw: &Raw, files: &[PathBuf], findings: &mut Findings<'_>) -> Settings {
    let server = server::server(&raw.server, findings);
    findings.allow_private = server.allow_private_upstreams;
    let auth = tenants::auth(&raw.auth, findings);
    let store = store::store(&raw.store, findings);
    let ledger = sections::ledger(&raw.ledger, findings);
    let relay = sections::relay(&raw.relay, findings);
    let deadlines = sections::deadlines("deadlines", &raw.deadlines, &sections::NO_DEADLINES, findings);
    let park = sections::park("park", &raw.park, &sections::NO_PARK, findings);
    let credentials = sections::credentials(&raw.credentials, findings);
    let breaker = sections::breaker(&raw.breaker, findings);
    let budget = sections::budget(&raw.budget, findings);
    let queue = sections::queue(&raw.queue, findings);
    let usage = sections::usage(&raw.usage, findings);
    let prices = prices::prices(&raw.prices, findings);
    let base = backends::Base::new(&raw.providers, &deadlines, &park, findings);
    let backends = backends::backends(&raw.backends, &base, findings);
    let mut routes = routes::routes(&raw.routes, &backends, findings);
    // The files' come first in the tree, so that paths stay what they are in the files; the stored ones match first.
    let stored = (0..routes.len()).filter(|at| findings.is_stored(&format!("routes[{at}]"))).count();
    routes.rotate_right(stored);
    let tenants = tenants::tenants(&raw.tenants, findings);
    let exposed = server::judge_listeners(&server, &auth, (tenants.len(), store.may_exist()), findings);
    Settings {
        server,
        auth,
        store,
        ledger,
        relay,
        deadlines,
        park,
        credentials,
        breaker,
        budget,
        queue,
        log: raw.log,
        usage,
        prices,
        backends,
        routes,
        tenants,
        exposed,
        warnings: Vec::new(),
        files: files.to_vec(),
        referenced: std::mem::take(&mut findings.files).into_iter().collect(),
    }
}
