//! Passing over the inside of strings fast: most bytes of a request are text or base64.

/// A run of plain string bytes, as far as it was passed.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// Where the next byte stands.
    pub at: usize,
    /// Whether that is a quote, a backslash, a control character or the end.
    ended: bool,
    /// Whether a byte beyond ASCII was passed, or stands shortly behind.
    pub wide: bool,
}

/// Passes plain string bytes from `at` to their end.
pub(super) fn plain(bytes: &[u8], at: usize) -> Run {
    // Most strings end within a few words; only long runs are worth the wide steps.
    let near = words(bytes, at, 16);
    if near.ended {
        return near;
    }
    let far = blocks(bytes, near.at);
    let last = words(bytes, far.at, usize::MAX);
    Run { wide: near.wide | far.wide | last.wide, ..last }
}

/// Steps of eight bytes, at most `most` of them, and single ones where less than eight are left.
#[inline]
fn words(bytes: &[u8], mut at: usize, most: usize) -> Run {
    let (mut seen, mut left) = (0, most);
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        if left == 0 {
            return Run { at, ended: false, wide: seen & EACH_TOP != 0 };
        }
        left -= 1;
        let word = u64::from_le_bytes(*word);
        seen |= word;
        let hit = specials(word);
        if hit != 0 {
            at += (hit.trailing_zeros() / 8) as usize;
            return Run { at, ended: true, wide: seen & EACH_TOP != 0 };
        }
        at += 8;
    }
    singly(bytes, at, seen & EACH_TOP != 0)
}

/// The last bytes of a document, which make no word.
#[cold]
fn singly(bytes: &[u8], at: usize, wide: bool) -> Run {
    let rest = bytes.get(at..).unwrap_or_default();
    let passed = rest.iter().position(|byte| special(*byte)).unwrap_or(rest.len());
    Run { at: at + passed, ended: true, wide: wide || !rest[..passed].is_ascii() }
}

/// Steps of a fixed 64 bytes without early exit inside, which become vector instructions. Smaller ones cost more: what each step
/// found is folded into one byte at its end.
fn blocks(bytes: &[u8], mut at: usize) -> Run {
    let mut seen = 0;
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<64>) {
        let (mut hit, mut all) = (0, 0);
        for byte in block {
            hit |= u8::from(*byte < 0x20) | u8::from(*byte == b'"') | u8::from(*byte == b'\\');
            all |= byte;
        }
        if hit != 0 {
            break;
        }
        seen |= all;
        at += block.len();
    }
    Run { at, ended: false, wide: !seen.is_ascii() }
}

const EACH_ONE: u64 = 0x0101_0101_0101_0101;
const EACH_TOP: u64 = 0x8080_8080_8080_8080;

/// The top bit of each special byte of a word is set; bits above the first one set may be wrong (borrows). With its second bit
/// turned, a quote follows on the control characters.
#[inline]
fn specials(word: u64) -> u64 {
    let low = (word ^ (EACH_ONE * 0x02)).wrapping_sub(EACH_ONE * 0x21);
    let backslash = (word ^ (EACH_ONE * 0x5c)).wrapping_sub(EACH_ONE);
    (low | backslash) & !word & EACH_TOP
}

fn special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::{plain, special};

    #[test]
    fn every_byte_is_judged_alike_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for place in 0..120 {
                let mut bytes = [b'a'; 120];
                bytes[place] = byte;
                let end = if special(byte) { place } else { bytes.len() };
                assert_eq!(plain(&bytes, 0).at, end, "{byte:#x} at {place}");
            }
        }
    }

    #[test]
    fn runs_end_where_a_plain_loop_ends_them() {
        for length in 0..300 {
            for ender in [None, Some(b'"'), Some(b'\\'), Some(0x1f), Some(0)] {
                for wide in [false, true] {
                    let mut bytes = vec![if wide { 0xa0 } else { b' ' }; length];
                    bytes.extend(ender);
                    bytes.extend([0x7f, 0x80, b'!', b'#', b'[', b']'].repeat(if ender.is_some() {
                        30
                    } else {
                        0
                    }));
                    let run = plain(&bytes, 0);
                    let slow = bytes.iter().position(|byte| special(*byte)).unwrap_or(bytes.len());
                    assert_eq!((run.at, run.ended), (slow, true));
                    assert!(run.wide || !wide || length == 0);
                }
            }
        }
    }
}
