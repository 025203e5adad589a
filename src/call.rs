//! `Call`: the immutable facts of one request.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use headgate_providers::{Features, MessagesRequest};

use crate::clock::Moment;
use crate::config::checked::Tenant;

/// The id of a request as the caller sees it: `req_` and 32 hex digits, ordered by time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new id (UUID version 7 without its dashes).
    #[must_use]
    pub fn new() -> Self {
        let mut text = *b"req_00000000000000000000000000000000";
        uuid::Uuid::now_v7().simple().encode_lower(&mut text[4..]);
        Self(str::from_utf8(&text).unwrap_or_default().into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, for what keeps it.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

/// One request, immutable from parse to settlement.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its id.
    pub id: RequestId,
    /// Who calls; `None` where the data plane is open.
    pub tenant: Option<Arc<Tenant>>,
    /// What is asked.
    pub request: MessagesRequest,
    /// When the head arrived.
    pub started: Moment,
    /// When waiting for a key must end.
    pub patience_until: Moment,
    /// When the call must end, whatever happens.
    pub deadline: Moment,
    /// Which substitutions the caller forbids.
    pub fallback: Fallback,
    /// What the request uses, once that was asked for.
    pub used: OnceLock<Features>,
}

impl Call {
    /// What the request uses of the Messages API, read on first use.
    #[must_use]
    pub fn features(&self) -> &Features {
        self.used.get_or_init(|| Features::of(&self.request))
    }
}

/// Which substitutions a caller allows (`x-headgate-no-fallback`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Every configured one.
    Any,
    /// Not another model (`true`).
    SameModel,
    /// Not another model and not past the first tier (`provider`).
    FirstTier,
}

/// How long a call may wait for a key: the configured patience, or the caller's own budget (`x-stainless-timeout`,
/// seconds) less two seconds, whichever is shorter.
#[must_use]
pub fn patience(max_wait: Duration, stainless_timeout: Option<&str>) -> Duration {
    const MARGIN: Duration = Duration::from_secs(2);
    let own = stainless_timeout
        .and_then(|text| text.trim().parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    own.map_or(max_wait, |own| max_wait.min(own.saturating_sub(MARGIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_the_smaller_of_ours_and_the_callers_less_two_seconds() {
        let ours = Duration::from_secs(30);
        for (header, expected) in [
            (None, 30.0),
            (Some("600"), 30.0),
            (Some("10"), 8.0),
            (Some("2.5"), 0.5),
            (Some("1"), 0.0),
            (Some("NOT_GIVEN"), 30.0),
            (Some("-4"), 30.0),
            (Some("inf"), 30.0),
        ] {
            assert_eq!(patience(ours, header), Duration::from_secs_f64(expected), "{header:?}");
        }
    }

    #[test]
    fn ids_are_ordered_and_unlike() {
        let (first, second) = (RequestId::new(), RequestId::new());
        assert!(first.as_str() < second.as_str());
        for id in [first, second] {
            let digits = id.as_str().strip_prefix("req_").expect("the prefix");
            assert!(uuid::Uuid::try_parse(digits).is_ok_and(|id| id.get_version_num() == 7), "{id:?}");
            assert_eq!((digits.len(), digits), (32, digits.to_ascii_lowercase().as_str()));
        }
    }
}
