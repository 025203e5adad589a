//! The environment's variables as a value, so that everything else is a function of its arguments.

use std::collections::BTreeMap;
use std::fmt;

/// A copy of environment variables. Names that are not Unicode, and values that are not, are left out.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process: the one place that reads them.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of `name`; a variable that is set but blank counts as unset, as in compose files and manifests.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }

    /// The same settings of Headgate's own, but with a stand-in for every upstream: these keys at this address.
    #[must_use]
    pub fn with_upstream(&self, base_url: &str, keys: &[String]) -> Self {
        let own = self.0.iter().filter(|(name, _)| name.starts_with("HEADGATE_"));
        let own = own.map(|(name, value)| (name.clone(), value.clone()));
        let upstream = [
            ("ANTHROPIC_BASE_URL".to_owned(), base_url.to_owned()),
            ("ANTHROPIC_API_KEYS".to_owned(), keys.join(",")),
        ];
        own.chain(upstream).collect()
    }

    /// The same with a store that ends with the process, unless another is named.
    #[must_use]
    pub fn with_store_in_memory(mut self) -> Self {
        self.0.entry("HEADGATE__STORE__URL".to_owned()).or_insert_with(|| "sqlite::memory:".to_owned());
        self
    }

    /// All variables whose name begins with `prefix`: name, rest of the name, value; in order.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
        self.0.iter().filter_map(move |(name, value)| {
            Some((name.as_str(), name.strip_prefix(prefix)?, value.as_str()))
        })
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
