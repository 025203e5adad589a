//! Numbers of a log line, in the very digits that `Display` has for them, but without its machinery.

use std::fmt::Write as _;

/// Parts of one in which amounts are told: nano-dollars, and nanoseconds of a second.
const PARTS: u64 = 1_000_000_000;
/// Fifteen digits: as many as any number of 64 bits keeps, so that no two of them are the same number and none has a shorter form.
const MOST: f64 = 1e15;

/// Appends a whole number.
pub fn push_whole(line: &mut String, value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = value;
    loop {
        at -= 1;
        digits[at] = digit(left);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    line.push_str(str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// Appends the last `N` digits, zeros in front.
pub fn push_padded<const N: usize>(line: &mut String, value: u64) {
    let mut left = value;
    let mut digits = [0; N];
    for place in digits.iter_mut().rev() {
        *place = digit(left);
        left /= 10;
    }
    line.push_str(str::from_utf8(&digits).unwrap_or_default());
}

/// Appends a number that is finite. Milliseconds and dollars are whole billionths, and those need no search for the shortest form.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10^15")]
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
pub fn push(line: &mut String, value: f64) {
    let parts = value * PARTS as f64;
    let whole = (parts + 0.5) as u64;
    let exact = value.is_sign_positive() && parts < MOST && whole as f64 / PARTS as f64 == value;
    if !exact {
        let written = write!(line, "{value}");
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
        return;
    }
    push_whole(line, whole / PARTS);
    if !whole.is_multiple_of(PARTS) {
        line.push('.');
        push_padded::<9>(line, whole % PARTS);
        line.truncate(line.trim_end_matches('0').len());
    }
}

fn digit(value: u64) -> u8 {
    b'0' + (value % 10) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pushed(value: f64) -> String {
        let mut line = String::new();
        push(&mut line, value);
        line
    }

    #[test]
    fn numbers_look_as_display_shows_them() {
        for value in [
            0.0,
            -0.0,
            1.0,
            10.0,
            0.001,
            0.1,
            1.5,
            999.999,
            1e-9,
            1.5e-9,
            1e-10,
            1e6,
            1e15,
            1e300,
            -2.5,
            1.0 / 3.0,
        ] {
            assert_eq!(pushed(value), value.to_string());
        }
    }

    proptest! {
        #[test]
        fn every_number_looks_as_display_shows_it(value in any::<f64>().prop_filter("finite", |it| it.is_finite())) {
            prop_assert_eq!(pushed(value), value.to_string());
        }

        #[test]
        fn every_span_and_every_amount_looks_as_display_shows_it(micros in 0..1_u64 << 50, nanos in 0..1_u64 << 52) {
            let span = micros as f64 / 1000.0;
            prop_assert_eq!(pushed(span), span.to_string());
            let amount = nanos as f64 / 1e9;
            prop_assert_eq!(pushed(amount), amount.to_string());
            let small = (nanos >> 30) as f64 / 1e9;
            prop_assert_eq!(pushed(small), small.to_string());
        }

        #[test]
        fn whole_numbers_look_as_display_shows_them(value in any::<u64>(), shift in 0..64_u32) {
            for value in [value, value >> shift] {
                let mut line = String::new();
                push_whole(&mut line, value);
                prop_assert_eq!(line, value.to_string());
            }
        }
    }
}
