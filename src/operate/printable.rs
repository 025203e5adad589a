//! Text of others on a terminal: control characters are shown, never obeyed.

use std::fmt::Write as _;

/// `text` on one line, its control characters escaped: a name or an upstream's words must not move the cursor.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control()
            || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            let _ = write!(out, "{}", letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_would_steer_a_terminal_is_shown_instead() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{9b}d"), "a\\u{1b}[2Jb\\nc\\u{9b}d");
        assert_eq!(printable("Grüße, key-1"), "Grüße, key-1");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }
}
