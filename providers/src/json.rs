//! A validating JSON reader over bytes: no tree, no recursion, no allocation.
//!
//! [`Cursor`] walks one document of RFC 8259 and tells callers where things stand. Everything it passes is checked: UTF-8,
//! escapes, numbers, control characters, nesting. Lone surrogates in `\u` escapes are accepted, as RFC 8259 (section 8.2)
//! allows: whoever needs the decoded text gets `None` for it. Hostile input costs time linear in its length.

mod plain;

use std::borrow::Cow;
use std::ops::Range;

use plain::plain;

/// Why a document is not acceptable JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Offset of the offending byte.
    pub at: usize,
    /// What is wrong, as the end of a sentence.
    pub what: &'static str,
    /// Whether the document merely ends too early.
    pub cut: bool,
}

/// A string as it stands in the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// Where it stands, quotes included.
    pub span: Range<usize>,
    /// Whether it holds escapes.
    escaped: bool,
}

/// A position in a document.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    max_depth: usize,
}

impl<'a> Cursor<'a> {
    /// Stands before the first value.
    pub fn new(bytes: &'a [u8], max_depth: usize) -> Result<Self, Flaw> {
        if bytes.starts_with(b"\xEF\xBB\xBF") {
            return Err(Flaw { at: 0, what: "a byte order mark is not allowed", cut: false });
        }
        let mut cursor = Self { bytes, at: 0, depth: 0, max_depth };
        cursor.space();
        Ok(cursor)
    }

    /// The next byte.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Offset of the next byte.
    pub fn at(&self) -> usize {
        self.at
    }

    /// A piece of the document, for a comparison with known texts.
    pub fn raw(&self, span: Range<usize>) -> &'a [u8] {
        self.bytes.get(span).unwrap_or_default()
    }

    /// A piece of the document that was passed, and thereby checked.
    pub fn slice(&self, span: Range<usize>) -> &'a str {
        self.bytes.get(span).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The text of a string, unescaped; `None` where escapes spell no Unicode text (a lone surrogate).
    pub fn decode(&self, text: &Text) -> Option<Cow<'a, str>> {
        if text.escaped {
            return serde_json::from_str(self.slice(text.span.clone())).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(self.slice(text.span.start + 1..text.span.end - 1)))
    }

    /// The bytes of a string, unescaped: for a comparison with known names, which costs no check of UTF-8. Empty where escapes
    /// spell no Unicode text.
    pub fn name(&self, text: &Text) -> Cow<'a, [u8]> {
        if text.escaped {
            return self.decode(text).map(|text| text.into_owned().into_bytes()).unwrap_or_default().into();
        }
        Cow::Borrowed(self.raw(text.span.start + 1..text.span.end - 1))
    }

    /// Passes a value of any kind; tells it where it is a whole number that fits, without sign, fraction or exponent.
    pub fn count(&mut self) -> Result<Option<u64>, Flaw> {
        let span = self.value()?;
        let digits = self.raw(span);
        Ok(digits.iter().try_fold(0_u64, |sum, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            sum.checked_mul(10)?.checked_add(digit)
        }))
    }

    /// The document must end here, white space aside.
    pub fn finish(&mut self) -> Result<(), Flaw> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.flaw("trailing characters")) }
    }

    /// Passes an object, calling `member` with each key while standing before the value, which it must pass.
    pub fn members<E: From<Flaw>>(
        &mut self,
        mut member: impl FnMut(&mut Self, &Text) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{', "expected an object")?;
        self.deeper()?;
        self.space();
        if self.peek() != Some(b'}') {
            loop {
                let key = self.key()?;
                member(self, &key)?;
                self.space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
                self.space();
            }
        }
        self.expect(b'}', "expected `,` or `}`")?;
        self.depth -= 1;
        Ok(())
    }

    /// Passes a list, calling `element` while standing before each value, which it must pass.
    pub fn elements<E: From<Flaw>>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'[', "expected a list")?;
        self.deeper()?;
        self.space();
        if self.peek() != Some(b']') {
            loop {
                element(self)?;
                self.space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
                self.space();
            }
        }
        self.expect(b']', "expected `,` or `]`")?;
        self.depth -= 1;
        Ok(())
    }

    /// Passes one value of any kind and tells where it stood.
    pub fn value(&mut self) -> Result<Range<usize>, Flaw> {
        let start = self.at;
        let outer = self.depth;
        let mut nesting = Nesting::default();
        loop {
            let opened = self.step_into(&mut nesting)?;
            if !opened && self.step_out(&mut nesting, outer)? {
                return Ok(start..self.at);
            }
        }
    }

    /// Passes a string.
    pub fn string(&mut self) -> Result<Text, Flaw> {
        let start = self.at;
        self.expect(b'"', "expected a string")?;
        let (mut escaped, mut wide) = (false, false);
        loop {
            let run = plain(self.bytes, self.at);
            self.at = run.at;
            wide |= run.wide;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.flaw("a control character in a string")),
                None => return Err(self.flaw("unexpected end")),
            }
        }
        if wide {
            self.check_utf8(start)?;
        }
        self.at += 1;
        Ok(Text { span: start..self.at, escaped })
    }

    /// The bytes since `start` must be UTF-8. Beyond ASCII nothing is allowed outside of strings, so checking those suffices.
    fn check_utf8(&self, start: usize) -> Result<(), Flaw> {
        let passed = self.bytes.get(start..self.at).unwrap_or_default();
        std::str::from_utf8(passed).map(|_| ()).map_err(|error| Flaw {
            at: start + error.valid_up_to(),
            what: "invalid UTF-8",
            cut: false,
        })
    }

    /// One value, or the opening of a container that is not empty (`true`).
    fn step_into(&mut self, nesting: &mut Nesting) -> Result<bool, Flaw> {
        let (object, close) = match self.peek() {
            Some(b'"') => return self.string().map(|_| false),
            Some(b'-' | b'0'..=b'9') => return self.number().map(|()| false),
            Some(b't') => return self.literal(b"true").map(|()| false),
            Some(b'f') => return self.literal(b"false").map(|()| false),
            Some(b'n') => return self.literal(b"null").map(|()| false),
            Some(b'{') => (true, b'}'),
            Some(b'[') => (false, b']'),
            Some(_) => return Err(self.flaw("expected a value")),
            None => return Err(self.flaw("unexpected end")),
        };
        self.deeper()?;
        self.at += 1;
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        nesting.push(object);
        if object {
            self.key()?;
        }
        Ok(true)
    }

    /// After a value: closes what ends here. `true`: the outermost value is complete.
    fn step_out(&mut self, nesting: &mut Nesting, outer: usize) -> Result<bool, Flaw> {
        while self.depth > outer {
            self.space();
            let object = nesting.top();
            match (self.peek(), object) {
                (Some(b','), _) => {
                    self.at += 1;
                    self.space();
                    if object {
                        self.key()?;
                    }
                    return Ok(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    self.depth -= 1;
                    nesting.pop();
                }
                (_, true) => return Err(self.flaw("expected `,` or `}`")),
                (_, false) => return Err(self.flaw("expected `,` or `]`")),
            }
        }
        Ok(true)
    }

    /// A member's key, its colon and the white space around it.
    fn key(&mut self) -> Result<Text, Flaw> {
        if self.peek().is_some_and(|byte| byte != b'"') {
            return Err(self.flaw("expected a key in double quotes"));
        }
        let key = self.string()?;
        self.space();
        self.expect(b':', "expected `:`")?;
        self.space();
        Ok(key)
    }

    fn number(&mut self) -> Result<(), Flaw> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => {
                self.at += 1;
                if matches!(self.peek(), Some(b'0'..=b'9')) {
                    return Err(self.flaw("a number with a leading zero"));
                }
            }
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.flaw("an incomplete number")) } else { Ok(()) }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Flaw> {
        for byte in word {
            self.expect(*byte, "expected a value")?;
        }
        Ok(())
    }

    #[inline]
    fn escape(&mut self) -> Result<(), Flaw> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    match self.peek() {
                        Some(byte) if byte.is_ascii_hexdigit() => self.at += 1,
                        _ => return Err(self.flaw("an invalid \\u escape")),
                    }
                }
            }
            _ => return Err(self.flaw("an invalid escape")),
        }
        Ok(())
    }

    fn deeper(&mut self) -> Result<(), Flaw> {
        if self.depth >= self.max_depth {
            return Err(self.flaw("nested too deeply"));
        }
        self.depth += 1;
        Ok(())
    }

    #[inline]
    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Flaw> {
        if self.peek() != Some(byte) {
            return Err(self.flaw(what));
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn flaw(&self, what: &'static str) -> Flaw {
        let cut = self.at >= self.bytes.len();
        Flaw { at: self.at, what: if cut { "unexpected end" } else { what }, cut }
    }
}

/// Which containers are open, one bit each: set for an object.
#[derive(Default)]
struct Nesting {
    open: usize,
    top: u64,
    below: Vec<u64>,
}

impl Nesting {
    fn push(&mut self, object: bool) {
        if self.open > 0 && self.open.is_multiple_of(64) {
            self.below.push(self.top);
        }
        self.top = self.top << 1 | u64::from(object);
        self.open += 1;
    }

    fn pop(&mut self) {
        self.open = self.open.saturating_sub(1);
        self.top >>= 1;
        if self.open > 0 && self.open.is_multiple_of(64) {
            self.top = self.below.pop().unwrap_or_default();
        }
    }

    fn top(&self) -> bool {
        self.top & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    #[test]
    fn invalid_utf8_is_found_wherever_it_stands_in_a_string() {
        for length in 0..200 {
            let mut bytes = vec![b'a'; length + 2];
            bytes[0] = b'"';
            bytes[length + 1] = b'"';
            for at in 1..=length {
                bytes[at] = 0xff;
                let flaw = Cursor::new(&bytes, 1).unwrap().value().unwrap_err();
                assert_eq!((flaw.at, flaw.what), (at, "invalid UTF-8"));
                bytes[at] = b'a';
            }
        }
    }
}
