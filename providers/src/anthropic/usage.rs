//! Reading `usage` objects (Messages API, "usage").
//!
//! In a stream `message_start` tells the input and `message_delta` tells cumulative totals; a field that is absent or null
//! keeps its earlier value, as the official SDKs do it. A field of a wrong type counts as absent: usage never breaks a good
//! answer.

use crate::frame::Usage;
use crate::json::{Cursor, Flaw};

/// Above this a count is nonsense; it also keeps sums of counts far from overflowing.
const MOST: u64 = 1 << 48;
/// A `usage` object is shallow; a deeper one is not read.
const DEEPEST: usize = 32;

/// What one `usage` object tells.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    written: Option<u64>,
    five_minutes: Option<u64>,
    one_hour: Option<u64>,
}

impl Counts {
    /// Reads an object without building a tree; what is no object tells nothing.
    fn read(object: &str) -> Result<Self, Flaw> {
        let mut counts = Self::default();
        let mut cursor = Cursor::new(object.as_bytes(), DEEPEST)?;
        cursor.members(|cursor, key| {
            let name = cursor.decode(key).unwrap_or_default();
            if name == "cache_creation" && cursor.peek() == Some(b'{') {
                return cursor.members(|cursor, key| {
                    let name = cursor.decode(key).unwrap_or_default();
                    counts.note(&name, count(cursor)?);
                    Ok::<(), Flaw>(())
                });
            }
            counts.note(&name, count(cursor)?);
            Ok::<(), Flaw>(())
        })?;
        Ok(counts)
    }

    fn note(&mut self, name: &str, count: Option<u64>) {
        match name {
            "input_tokens" => self.input = count,
            "output_tokens" => self.output = count,
            "cache_read_input_tokens" => self.cache_read = count,
            "cache_creation_input_tokens" => self.written = count,
            "ephemeral_5m_input_tokens" => self.five_minutes = count,
            "ephemeral_1h_input_tokens" => self.one_hour = count,
            _ => {}
        }
    }
}

/// Passes a value; a whole number is a count, anything else is none.
fn count(cursor: &mut Cursor<'_>) -> Result<Option<u64>, Flaw> {
    let span = cursor.value()?;
    Ok(cursor.slice(span).parse().ok().map(|count: u64| count.min(MOST)))
}

/// Overwrites in `usage` what the object written as `object` tells. `false`: it tells nothing.
pub(super) fn merge(usage: &mut Usage, object: &str) -> bool {
    let Ok(counts) = Counts::read(object) else { return false };
    let Counts { input, output, cache_read, written, five_minutes, one_hour } = counts;
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

    use super::MOST;
    use crate::frame::Usage;

    fn merge(usage: &mut Usage, object: &serde_json::Value) -> bool {
        super::merge(usage, &object.to_string())
    }

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
