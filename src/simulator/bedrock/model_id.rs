//! Bedrock's names of models: base ids, inference profiles, ARNs, and the short name that answers carry.

use super::exception::Exception;

const PREFIXES: [&str; 7] = ["global", "us", "eu", "apac", "jp", "au", "us-gov"];

/// A model as it was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelId {
    /// Its name in the first-party API.
    pub model: String,
    /// The prefix of a cross-region profile; empty for the model itself.
    pub geography: String,
    /// It is named with a version, as the models before 4.7 are.
    pub versioned: bool,
    /// It was named by an ARN.
    pub arn: bool,
}

impl ModelId {
    /// Reads a path's segment, percent-encoded or not. `profile` resolves opaque ids.
    ///
    /// # Errors
    /// A `ValidationException` when it names no model of Anthropic's.
    pub fn read(segment: &str, profile: impl Fn(&str) -> Option<String>) -> Result<Self, Exception> {
        let given = decoded(segment);
        let arn = given.starts_with("arn:");
        let name = if arn { given.rsplit('/').next().unwrap_or_default() } else { &given };
        if let Some(model) = profile(&given).or_else(|| profile(name)) {
            return Ok(Self { model, geography: "profile".to_owned(), versioned: false, arn });
        }
        let (geography, base) = match name.split_once('.') {
            Some((prefix, rest)) if PREFIXES.contains(&prefix) => (prefix, rest),
            Some(_) | None => ("", name),
        };
        let unknown = || Exception::validation("The provided model identifier is invalid.");
        let short = base.strip_prefix("anthropic.").ok_or_else(unknown)?;
        let (model, versioned) = match short.rsplit_once("-v") {
            Some((model, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => (model, true),
            Some(_) | None => (short, false),
        };
        Ok(Self { model: model.to_owned(), geography: geography.to_owned(), versioned, arn })
    }

    /// The name of its quota: the model, and the profile apart from the model itself.
    pub fn quota(&self) -> String {
        format!("{}/{}", self.geography, self.model)
    }

    /// Models from Sonnet 4.5 on that carry a version answer through a profile alone.
    ///
    /// # Errors
    /// A `ValidationException` that says so.
    pub fn on_demand(&self, called: &str) -> Result<(), Exception> {
        let day = self.model.rsplit('-').next().and_then(|day| day.parse::<u64>().ok());
        let old = day.is_some_and(|day| (20_000_101..20_250_929).contains(&day));
        if !self.geography.is_empty() || !self.versioned || old {
            return Ok(());
        }
        Err(Exception::validation(format!(
            "Invocation of model ID {} with on-demand throughput isn\u{2019}t supported. Retry your request with the ID or ARN \
             of an inference profile that contains this model.",
            decoded(called)
        )))
    }
}

/// A segment without its percent-encoding; what is not encoded well stays as it is.
pub fn decoded(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code = segment.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code.filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(segment: &str) -> Result<ModelId, Exception> {
        ModelId::read(segment, |id| (id == "abc123").then(|| "claude-x".to_owned()))
    }

    #[test]
    fn ids_profiles_and_arns_name_the_same_model() {
        let short = "claude-sonnet-4-5-20250929";
        for segment in [
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0",
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.claude-sonnet-4-5-20250929-v1%3A0",
        ] {
            let id = read(segment).unwrap();
            assert_eq!((id.model.as_str(), id.quota()), (short, format!("us/{short}")), "{segment}");
            assert!(id.versioned && id.on_demand(segment).is_ok());
        }
        let bare = read("anthropic.claude-opus-5").unwrap();
        assert!(bare.model == "claude-opus-5" && !bare.versioned && bare.on_demand("x").is_ok());
        let opaque = read("arn:aws:bedrock:us-east-1:1:application-inference-profile%2Fabc123").unwrap();
        assert_eq!((opaque.model.as_str(), opaque.arn), ("claude-x", true));
        assert!(read("meta.llama").is_err() && read("abc").is_err());
    }

    #[test]
    fn newer_base_ids_ask_for_a_profile() {
        let refused = |id: &str| read(id).unwrap().on_demand(id).is_err();
        assert!(
            refused("anthropic.claude-sonnet-4-5-20250929-v1:0") && refused("anthropic.claude-opus-4-6-v1")
        );
        assert!(!refused("anthropic.claude-3-haiku-20240307-v1:0"));
    }
}
