//! The date of a log line, as RFC 3339 has it, with microseconds: `2026-11-22T12:48:09.000123Z`.
//!
//! Lines of one second share all but the microseconds, so each thread keeps the second it wrote last.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use super::number;

thread_local! {
    /// The second that was formatted last, and its text without the `Z`.
    static LAST: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// Appends the date of `wall`; dates before 1970 are written as its beginning.
pub fn push(line: &mut String, wall: SystemTime) {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second {
            *last = second;
            *text = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX).to_string();
            text.truncate(19);
        }
        line.push_str(text);
    });
    line.push('.');
    number::push_padded::<6>(line, u64::from(since.subsec_micros()));
    line.push('Z');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tracing_subscriber::fmt::format::Writer;
    use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime as Usual};

    use super::*;

    fn pushed(wall: SystemTime) -> String {
        let mut line = String::new();
        push(&mut line, wall);
        line
    }

    #[test]
    fn dates_are_written_with_all_six_digits() {
        let at = |micros| UNIX_EPOCH + Duration::from_micros(micros);
        assert_eq!(pushed(at(0)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(pushed(at(1_700_000_000_000_042)), "2023-11-14T22:13:20.000042Z");
        assert_eq!(pushed(at(1_700_000_000_999_999)), "2023-11-14T22:13:20.999999Z");
        assert_eq!(pushed(at(1_700_000_001_000_000)), "2023-11-14T22:13:21.000000Z");
        assert_eq!(pushed(at(1_700_000_000_000_000)), "2023-11-14T22:13:20.000000Z");
    }

    #[test]
    fn the_clock_that_other_layers_log_by_is_written_alike() {
        let mut usual = String::new();
        Usual.format_time(&mut Writer::new(&mut usual)).expect("a date");
        let read: jiff::Timestamp = usual.parse().expect("a date");
        assert_eq!(pushed(read.into()), usual);
    }

    proptest! {
        #[test]
        fn every_date_reads_as_what_it_was(micros in 0..253_402_200_000_000_000_u64) {
            let wall = UNIX_EPOCH + Duration::from_micros(micros);
            let text = pushed(wall);
            prop_assert_eq!(text.len(), 27);
            let read: jiff::Timestamp = text.parse().expect("a date");
            prop_assert_eq!(SystemTime::from(read), wall);
        }
    }
}
