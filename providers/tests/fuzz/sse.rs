//! A stream's decoder hears the same in every split, passes bytes unchanged, and keeps its bounds.

use headgate_providers::Anthropic;

use super::heard::{Heard, decoder};

/// Small, so that inputs reach it.
const EVENT_BYTES: usize = 2048;

/// The promises, for any bytes.
pub fn check(input: &[u8]) {
    let whole = hear(input, &mut |rest| rest);
    assert!(input.starts_with(&whole.bytes), "bytes pass unchanged");
    assert_eq!(whole.failed.is_none(), whole.ended(), "a stream ends well, or in a report, or is a fault");
    assert_eq!(hear(input, &mut |_| 1), whole, "one byte at a time");
    assert_eq!(hear(input, &mut |rest| if rest % 2 == 0 { 0 } else { 2 }.max(usize::from(rest > 0))), whole);
    // Splits that look random and follow from the input alone, so that a finding repeats.
    let mut state = input.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    for reach in [7, 64] {
        let mut next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % reach).unwrap_or(0)
        };
        assert_eq!(hear(input, &mut next), whole, "pieces below {reach}");
    }
}

fn hear(input: &[u8], piece: &mut dyn FnMut(usize) -> usize) -> Heard {
    Heard::of(decoder(&Anthropic, "text/event-stream; charset=utf-8", EVENT_BYTES), input, piece, |_| {})
}
