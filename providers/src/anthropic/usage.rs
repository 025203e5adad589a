//! Reading `usage` objects (Messages API, "usage").
//!
//! In a stream `message_start` tells the input and `message_delta` tells cumulative totals; a field that is absent or null
//! keeps its earlier value, as the official SDKs do it. A field of a wrong type counts as absent: usage never breaks a good
//! answer.

use crate::frame::Usage;
use crate::json::{Cursor, Flaw};

/// Above this a count is nonsense; it also keeps sums of counts far from overflowing.
const MOST: u64 = 1 << 48;

/// What one `usage` object tells.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    written: Option<u64>,
    five_minutes: Option<u64>,
    one_hour: Option<u64>,
    batch: Option<bool>,
}

impl Counts {
    /// Passes the value the cursor stands before, without building a tree; what is no object tells nothing.
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Flaw> {
        let mut counts = Self::default();
        if cursor.peek() != Some(b'{') {
            cursor.value()?;
            return Ok(counts);
        }
        cursor.members(|cursor, key| {
            let name = cursor.name(key);
            if *name == *b"cache_creation" && cursor.peek() == Some(b'{') {
                return cursor.members(|cursor, key| {
                    let name = cursor.name(key);
                    counts.note(&name, cursor.count()?);
                    Ok::<(), Flaw>(())
                });
            }
            if *name == *b"service_tier" && cursor.peek() == Some(b'"') {
                let tier = cursor.string()?;
                counts.batch = Some(*cursor.name(&tier) == *b"batch");
                return Ok(());
            }
            counts.note(&name, cursor.count()?);
            Ok::<(), Flaw>(())
        })?;
        Ok(counts)
    }

    fn note(&mut self, name: &[u8], count: Option<u64>) {
        let count = count.map(|count| count.min(MOST));
        match name {
            b"input_tokens" => self.input = count,
            b"output_tokens" => self.output = count,
            b"cache_read_input_tokens" => self.cache_read = count,
            b"cache_creation_input_tokens" => self.written = count,
            b"ephemeral_5m_input_tokens" => self.five_minutes = count,
            b"ephemeral_1h_input_tokens" => self.one_hour = count,
            _ => {}
        }
    }
}

/// Passes the `usage` value the cursor stands before and overwrites in `usage` what it tells. `false`: it tells nothing.
pub(super) fn merge(usage: &mut Usage, cursor: &mut Cursor<'_>) -> Result<bool, Flaw> {
    let counts = Counts::read(cursor)?;
    let Counts { input, output, cache_read, written, five_minutes, one_hour, batch } = counts;
    usage.input = input.unwrap_or(usage.input);
    usage.output = output.unwrap_or(usage.output);
    usage.cache_read = cache_read.unwrap_or(usage.cache_read);
    usage.batch = batch.unwrap_or(usage.batch);
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
    Ok([input, output, cache_read, written, five_minutes, one_hour].iter().any(Option::is_some))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::MOST;
    use crate::frame::Usage;
    use crate::json::Cursor;

    fn merge(usage: &mut Usage, object: &serde_json::Value) -> bool {
        super::merge(usage, &mut Cursor::new(object.to_string().as_bytes(), 32).unwrap()).unwrap()
    }

    #[test]
    fn absent_fields_keep_earlier_values() {
        let mut usage = Usage::default();
        let start = json!({"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 7,
            "cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5}});
        assert!(merge(&mut usage, &start));
        assert!(merge(&mut usage, &json!({"output_tokens": 40, "input_tokens": null})));
        let expected = Usage {
            input: 10,
            output: 40,
            cache_read: 7,
            cache_write_5m: 4,
            cache_write_1h: 5,
            batch: false,
        };
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
    fn the_batch_tier_is_kept_until_another_is_told() {
        let mut usage = Usage::default();
        assert!(merge(&mut usage, &json!({"input_tokens": 1, "service_tier": "batch"})));
        assert!(merge(&mut usage, &json!({"output_tokens": 1, "service_tier": null})));
        assert!(usage.batch);
        assert!(merge(&mut usage, &json!({"output_tokens": 2, "service_tier": "standard"})));
        assert!(!usage.batch);
        assert!(!merge(&mut usage, &json!({"service_tier": 7})));
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
