//! What differs by model and is configured: beta flags and the version of the body.
//!
//! Vertex answers 400 to a flag it does not know, so only listed flags pass. The version of the official Vertex SDKs' first years is
//! taken by every model; the newer one, which is the Messages API's own, goes to listed models whose caller asked for it.

use wildmatch::WildMatch;

/// The version that every model takes.
const VERSION_FOR_ALL: &str = "vertex-2023-10-16";
/// The version of the Messages API that Vertex takes as well.
const VERSION_2026: &str = "2026-10-21";

/// The configured tables.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Beta flags that Vertex knows.
    betas: Vec<String>,
    /// Models that take the version 2026-10-21.
    version_2026: Vec<WildMatch>,
}

impl Tables {
    /// Tables of these flags and of patterns (`*`, `?`) of models that take the version `2026-10-21`.
    #[must_use]
    pub fn new(betas: Vec<String>, version_2026_models: &[String]) -> Self {
        let version_2026 = version_2026_models.iter().map(|pattern| WildMatch::new(pattern)).collect();
        Self { betas, version_2026 }
    }

    /// The flags of `asked` that Vertex knows, each once, in order, as one header line; `None` where there is none.
    pub(super) fn betas<'a>(&self, asked: impl Iterator<Item = &'a str>) -> Option<String> {
        let mut known: Vec<&str> = Vec::new();
        for flag in asked {
            if self.betas.iter().any(|listed| listed == flag) && !known.contains(&flag) {
                known.push(flag);
            }
        }
        (!known.is_empty()).then(|| known.join(","))
    }

    /// The version for a model (Vertex's name) whose caller asked for `asked`.
    pub(super) fn version(&self, model: &str, asked: Option<&str>) -> &'static str {
        let takes = self.version_2026.iter().any(|pattern| pattern.matches(model));
        if asked == Some(VERSION_2026) && takes { VERSION_2026 } else { VERSION_FOR_ALL }
    }
}
