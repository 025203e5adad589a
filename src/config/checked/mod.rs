//! Checked settings: what the rest of the program sees. Only valid values exist here.
//!
//! `raw` mirrors the files; `raw -> checked` validates, resolves every secret reference and compiles every
//! pattern once. A snapshot is immutable: a reload builds a new one and swaps it in whole.

mod backend;
mod callers;
mod records;
mod sections;

use std::path::PathBuf;
use std::sync::Arc;

pub use backend::*;
pub use callers::*;
pub use records::*;
pub use sections::*;

/// A model name pattern: literal text with `*` for any run of characters.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelPattern(wildmatch::WildMatchPattern<'*', '\0'>);

impl ModelPattern {
    /// Compiles `pattern`; every text is a valid pattern.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(wildmatch::WildMatchPattern::new(pattern))
    }

    /// Whether the whole of `model` matches.
    #[must_use]
    pub fn matches(&self, model: &str) -> bool {
        self.0.matches(model)
    }

    /// Whether it is a model's own name, and this one.
    #[must_use]
    pub fn is(&self, model: &str) -> bool {
        !self.is_wildcard() && self.matches(model)
    }

    /// Whether the pattern holds a `*`; otherwise it is a model's own name.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.pattern().contains('*')
    }

    /// The pattern as written.
    #[must_use]
    pub fn pattern(&self) -> String {
        self.0.pattern()
    }
}

/// One complete, valid configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Listeners, workers, bounds and drain.
    pub server: Server,
    /// Who may call and who may operate.
    pub auth: Auth,
    /// Durable records.
    pub store: Store,
    /// Where limits and parks are counted.
    pub ledger: Ledger,
    /// Bounds of the failover loop and what replies show.
    pub relay: Relay,
    /// The clocks of one upstream attempt; a backend may override them.
    pub deadlines: Deadlines,
    /// Parking times; a backend may override them.
    pub park: Park,
    /// Credentials that end and are refreshed.
    pub credentials: Credentials,
    /// Circuit breakers.
    pub breaker: Breaker,
    /// Mirrored upstream budgets.
    pub budget: Budget,
    /// The queue of waiting calls.
    pub queue: Queue,
    /// How the process logs.
    pub log: Log,
    /// Records of usage.
    pub usage: UsageRecords,
    /// What tokens cost: those of the configuration, then the compiled-in ones.
    pub prices: Arc<[Price]>,
    /// The backends in the order of the files.
    pub backends: Vec<Arc<Backend>>,
    /// The routes, first match wins; empty: every model goes to every Anthropic backend.
    pub routes: Vec<Arc<Route>>,
    /// The tenants; empty: the data plane is open where the listener's rule allows it.
    pub tenants: Vec<Arc<Tenant>>,
    /// The data plane is on the network and no tenant is configured: only one that the store holds can make that right.
    pub exposed: bool,
    /// Things an operator should know, each a sentence: insecure choices, parts not built yet, unset optional secrets.
    pub warnings: Vec<String>,
    /// The files this came from, for watching.
    pub files: Vec<PathBuf>,
    /// The files that it refers to (secrets, certificates), for watching.
    pub referenced: Vec<PathBuf>,
}
