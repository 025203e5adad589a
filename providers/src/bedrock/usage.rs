//! Token counts that AWS adds to what the Messages API says: metrics at the end of a stream, headers of a whole answer.
//!
//! Both name uncached input, output, cache reads and cache writes (headers: observed, not documented). They only ever add:
//! where the answer itself tells more, it holds, since it also knows the caches' lifetimes.

use serde::Deserialize;

use crate::frame::Usage;
use crate::wire::Headers;

/// Above this a count is nonsense.
const MOST: u64 = 1 << 48;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metrics {
    input_token_count: serde_json::Value,
    output_token_count: serde_json::Value,
    cache_read_input_token_count: serde_json::Value,
    cache_write_input_token_count: serde_json::Value,
}

/// Reads `amazon-bedrock-invocationMetrics`; what is no count is none.
pub(super) fn metrics(json: &str) -> Usage {
    let metrics: Metrics = serde_json::from_str(json).unwrap_or_default();
    let count = |value: &serde_json::Value| value.as_u64().unwrap_or(0).min(MOST);
    Usage {
        input: count(&metrics.input_token_count),
        output: count(&metrics.output_token_count),
        cache_read: count(&metrics.cache_read_input_token_count),
        cache_write_5m: count(&metrics.cache_write_input_token_count),
        cache_write_1h: 0,
        batch: false,
    }
}

/// Reads `x-amzn-bedrock-*-token-count`; `None` where none of them is there.
pub(super) fn of_headers(headers: &Headers) -> Option<Usage> {
    let count = |name: &str| {
        let text = headers.get(&format!("x-amzn-bedrock-{name}-token-count"))?;
        text.trim().parse().ok().map(|count: u64| count.min(MOST))
    };
    let counts = [count("input"), count("output"), count("cache-read-input"), count("cache-write-input")];
    let [input, output, read, written] = counts.map(|count| count.unwrap_or(0));
    let usage =
        Usage { input, output, cache_read: read, cache_write_5m: written, cache_write_1h: 0, batch: false };
    counts.iter().any(Option::is_some).then_some(usage)
}

/// `usage` with every count at least what `counted` says; writes to a cache of unknown lifetime count to the default one.
pub(super) fn at_least(usage: Usage, counted: Usage) -> Usage {
    Usage {
        input: usage.input.max(counted.input),
        output: usage.output.max(counted.output),
        cache_read: usage.cache_read.max(counted.cache_read),
        cache_write_5m: usage.cache_write_5m.max(counted.cache_write_5m.saturating_sub(usage.cache_write_1h)),
        cache_write_1h: usage.cache_write_1h,
        batch: usage.batch,
    }
}

#[cfg(test)]
mod tests {
    use super::{at_least, metrics, of_headers};
    use crate::frame::Usage;
    use crate::wire::Headers;

    #[test]
    fn counts_only_ever_add() {
        let told = Usage {
            input: 10,
            output: 1,
            cache_read: 5,
            cache_write_5m: 0,
            cache_write_1h: 30,
            batch: false,
        };
        let counted = metrics(
            r#"{"inputTokenCount":10,"outputTokenCount":42,"cacheReadInputTokenCount":0,"cacheWriteInputTokenCount":32,"invocationLatency":7}"#,
        );
        let both = Usage {
            input: 10,
            output: 42,
            cache_read: 5,
            cache_write_5m: 2,
            cache_write_1h: 30,
            batch: false,
        };
        assert_eq!(at_least(told, counted), both);
    }

    #[test]
    fn nonsense_counts_as_nothing() {
        for json in ["[]", "null", "{", r#"{"inputTokenCount":-1,"outputTokenCount":"7"}"#] {
            assert_eq!(metrics(json), Usage::default(), "{json}");
        }
        let mut headers = Headers::default();
        assert_eq!(of_headers(&headers), None);
        headers.push("x-amzn-bedrock-input-token-count", "many");
        assert_eq!(of_headers(&headers), None);
        headers.push("x-amzn-bedrock-output-token-count", " 7 ");
        assert_eq!(of_headers(&headers), Some(Usage { output: 7, ..Usage::default() }));
    }
}
