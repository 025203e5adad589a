//! Which API a request speaks, told by its path alone: one address serves them all.
//!
//! A cloud without accounts or projects is not spoken: its paths are then unknown, as on api.anthropic.com.

use serde::{Deserialize, Serialize};

use super::config::SimulatorConfig;

/// An API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// The Messages API of Anthropic.
    #[default]
    Anthropic,
    /// InvokeModel of Bedrock's runtime.
    Bedrock,
    /// The native Messages API of Bedrock.
    Mantle,
    /// rawPredict of Vertex AI.
    Vertex,
    /// Google's token endpoint and metadata server.
    Identity,
}

impl Dialect {
    /// The API that a path belongs to. `flavor` says whether the request carries `Metadata-Flavor`, by which alone the
    /// metadata server's root is told from anything else.
    pub fn of(path: &str, flavor: bool, config: &SimulatorConfig) -> Self {
        let aws = !config.bedrock.accounts.is_empty();
        let google = !config.vertex.projects.is_empty();
        let token = matches!(path, "/token" | "/v1/token") || path.starts_with("/computeMetadata/");
        if aws && path.starts_with("/model/") {
            Self::Bedrock
        } else if aws && path.starts_with("/anthropic/") {
            Self::Mantle
        } else if google && path.starts_with("/v1/projects/") {
            Self::Vertex
        } else if google && (token || (path == "/" && flavor)) {
            Self::Identity
        } else {
            Self::Anthropic
        }
    }

    /// Whether a path asks for a message: what rules of faults without `paths` strike.
    pub fn answers(self, path: &str) -> bool {
        match self {
            Self::Anthropic => path == "/v1/messages",
            Self::Mantle => path == "/anthropic/v1/messages",
            Self::Bedrock => path.ends_with("/invoke") || path.ends_with("/invoke-with-response-stream"),
            Self::Vertex => path.ends_with("awPredict") && !path.ends_with("/count-tokens:rawPredict"),
            Self::Identity => false,
        }
    }

    /// The longest body, in bytes.
    pub fn max_body_bytes(self, config: &SimulatorConfig) -> usize {
        match self {
            Self::Bedrock => config.bedrock.max_body_bytes,
            Self::Vertex => config.vertex.max_body_bytes,
            Self::Anthropic | Self::Mantle | Self::Identity => config.max_body_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_api_and_whether_it_asks_for_a_message() {
        let config = SimulatorConfig::default();
        let model = "/v1/projects/p/locations/l/publishers/anthropic/models";
        let cases = [
            ("/v1/messages".to_owned(), Dialect::Anthropic, true),
            ("/v1/messages/count_tokens".to_owned(), Dialect::Anthropic, false),
            ("/model/m/invoke".to_owned(), Dialect::Bedrock, true),
            ("/model/m/invoke-with-response-stream".to_owned(), Dialect::Bedrock, true),
            ("/model/m/count-tokens".to_owned(), Dialect::Bedrock, false),
            ("/anthropic/v1/messages".to_owned(), Dialect::Mantle, true),
            (format!("{model}/m:rawPredict"), Dialect::Vertex, true),
            (format!("{model}/m:streamRawPredict"), Dialect::Vertex, true),
            (format!("{model}/count-tokens:rawPredict"), Dialect::Vertex, false),
            ("/token".to_owned(), Dialect::Identity, false),
        ];
        for (path, dialect, answers) in cases {
            assert_eq!(Dialect::of(&path, false, &config), dialect, "{path}");
            assert_eq!(dialect.answers(&path), answers, "{path}");
        }
    }

    #[test]
    fn a_cloud_without_accounts_is_not_spoken() {
        let mut config = SimulatorConfig::default();
        config.bedrock.accounts.clear();
        config.vertex.projects.clear();
        for path in ["/model/m/invoke", "/anthropic/v1/messages", "/v1/projects/p", "/token", "/"] {
            assert_eq!(Dialect::of(path, true, &config), Dialect::Anthropic, "{path}");
        }
    }
}
