//! What differs by model and is configured: beta flags and the version of the body.
//!
//! Bedrock answers 400 to a flag it does not know and, for models with a versioned id, to the newer version (docs "Claude on
//! Amazon Bedrock (Opus 4.6 and earlier)"). So only listed flags pass, and the newer version goes only to listed models.

use wildmatch::WildMatchPattern;

/// The version that every model takes.
pub(super) const VERSION_FOR_ALL: &str = "bedrock-2023-05-31";
/// The version that only some models take; the Messages API's own.
pub(super) const VERSION_2026: &str = "2026-10-21";

/// The configured tables.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Beta flags that Bedrock knows.
    betas: Vec<String>,
    /// A flag, and what Bedrock calls it.
    aliases: Vec<(String, String)>,
    /// Models that take the version 2026-10-21.
    version_2026: Vec<WildMatchPattern<'*', '\0'>>,
}

impl Tables {
    /// Tables of these flags, aliases (a flag, and Bedrock's name for it) and patterns (`*`: any characters) of models that take the
    /// version `2026-10-21`.
    #[must_use]
    pub fn new(betas: Vec<String>, aliases: Vec<(String, String)>, version_2026_models: &[String]) -> Self {
        let version_2026 = version_2026_models.iter().map(|pattern| WildMatchPattern::new(pattern)).collect();
        Self { betas, aliases, version_2026 }
    }

    /// The flags of `asked` that Bedrock knows, by its names, each once, in order.
    pub(super) fn betas<'a>(&'a self, asked: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let mut known = Vec::new();
        for flag in asked {
            let alias = self.aliases.iter().find(|(from, _)| from == flag).map(|(_, to)| to.as_str());
            let flag = alias.unwrap_or(flag);
            if self.betas.iter().any(|listed| listed == flag) && !known.contains(&flag) {
                known.push(flag);
            }
        }
        known
    }

    /// The version for a model (Bedrock's name) whose caller asked for `asked`.
    pub(super) fn version(&self, model: &str, asked: Option<&str>) -> &'static str {
        let takes = self.version_2026.iter().any(|pattern| pattern.matches(model));
        if asked == Some(VERSION_2026) && takes { VERSION_2026 } else { VERSION_FOR_ALL }
    }
}

#[cfg(test)]
mod tests {
    use super::{Tables, VERSION_2026, VERSION_FOR_ALL};

    #[test]
    fn unknown_betas_are_dropped_and_others_renamed() {
        let betas = ["context-1m-2025-08-07", "tool-search-tool-2025-10-19"].map(str::to_owned).to_vec();
        let alias = ("advanced-tool-use-2025-11-20".to_owned(), "tool-search-tool-2025-10-19".to_owned());
        let tables = Tables::new(betas, vec![alias], &[]);
        let asked = [
            "brand-new",
            "advanced-tool-use-2025-11-20",
            "context-1m-2025-08-07",
            "tool-search-tool-2025-10-19",
            "",
        ];
        assert_eq!(tables.betas(asked.into_iter()), ["tool-search-tool-2025-10-19", "context-1m-2025-08-07"]);
        assert!(Tables::default().betas(asked.into_iter()).is_empty());
    }

    #[test]
    fn the_newer_version_needs_a_model_that_takes_it_and_a_caller_who_asked() {
        let tables = Tables::new(Vec::new(), Vec::new(), &["*claude-opus-5*".to_owned()]);
        for (model, asked, expected) in [
            ("us.anthropic.claude-opus-5", Some("2026-10-21"), VERSION_2026),
            ("us.anthropic.claude-opus-5", Some("2023-06-01"), VERSION_FOR_ALL),
            ("us.anthropic.claude-opus-5", None, VERSION_FOR_ALL),
            ("anthropic.claude-opus-4-5-20251101-v1:0", Some("2026-10-21"), VERSION_FOR_ALL),
        ] {
            assert_eq!(tables.version(model, asked), expected, "{model} {asked:?}");
        }
    }
}
