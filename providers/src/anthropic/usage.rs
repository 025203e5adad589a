//! Reading `usage` objects (Messages API, "usage").
//!
//! In a stream `message_start` tells the input and `message_delta` tells cumulative totals; a field that is absent or null
//! keeps its earlier value, as the official SDKs do it. A field of a wrong type counts as absent: usage never breaks a good
//! answer.

use serde_json::Value;

use crate::frame::Usage;

/// Above this a count is nonsense; it also keeps sums of counts far from overflowing.
const MOST: u64 = 1 << 48;

/// Overwrites in `usage` what `object` tells. `false`: it tells nothing.
pub(super) fn merge(usage: &mut Usage, object: &Value) -> bool {
    let count = |object: &Value, name| object.get(name).and_then(Value::as_u64).map(|count| count.min(MOST));
    let input = count(object, "input_tokens");
    let output = count(object, "output_tokens");
    let cache_read = count(object, "cache_read_input_tokens");
    let written = count(object, "cache_creation_input_tokens");
    let split = object.get("cache_creation").unwrap_or(&Value::Null);
    let five_minutes = count(split, "ephemeral_5m_input_tokens");
    let one_hour = count(split, "ephemeral_1h_input_tokens");

    usage.input = input.unwrap_or(usage.input);
    usage.output = output.unwrap_or(usage.output);
    usage.cache_read = cache_read.unwrap_or(usage.cache_read);
    usage.cache_write_1h = one_hour.unwrap_or(usage.cache_write_1h);
    match (five_minutes, written) {
        (Some(count), _) => usage.cache_write_5m = count,
        // Only the sum is told: what is not known to be in the one-hour cache is in the default one.
        (None, Some(sum)) => {
            usage.cache_write_1h = usage.cache_write_1h.min(sum);
            usage.cache_write_5m = sum - usage.cache_write_1h;
        }
        (None, None) => {}
    }
    [input, output, cache_read, written, five_minutes, one_hour].iter().any(Option::is_some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{MOST, merge};
    use crate::frame::Usage;

    #[test]
    fn absent_fields_keep_earlier_values() {
        let mut usage = Usage::default();
        let start = json!({"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 7,
            "cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5}});
        assert!(merge(&mut usage, &start));
        assert!(merge(&mut usage, &json!({"output_tokens": 40, "input_tokens": null})));
        let expected = Usage { input: 10, output: 40, cache_read: 7, cache_write_5m: 4, cache_write_1h: 5 };
        assert_eq!(usage, expected);
        assert!(merge(&mut usage, &json!({"cache_creation_input_tokens": 9})));
        assert_eq!(usage, expected);
    }

    #[test]
    fn a_bare_sum_counts_as_the_five_minute_cache() {
        let mut usage = Usage::default();
        assert!(merge(&mut usage, &json!({"cache_creation_input_tokens": 9, "cache_creation": null})));
        assert_eq!(usage.cache_write_5m, 9);
        assert_eq!(usage.cache_write_1h, 0);
    }

    #[test]
    fn nonsense_counts_as_absent_and_never_overflows() {
        let mut usage = Usage::default();
        assert!(!merge(&mut usage, &json!({"input_tokens": -1, "output_tokens": "9"})));
        assert!(!merge(&mut usage, &json!([])));
        assert!(merge(
            &mut usage,
            &json!({"cache_creation": {"ephemeral_5m_input_tokens": u64::MAX, "ephemeral_1h_input_tokens": u64::MAX}})
        ));
        assert_eq!(usage.cache_written(), 2 * MOST);
    }
}
