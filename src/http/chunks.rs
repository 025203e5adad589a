//! Chunks of an upstream answer, joined before awc sees them.
//!
//! awc takes a chunked body apart one chunk at a time, at some three hundred instructions each, and a burst of small events is
//! a hundred chunks in one read. Whole chunks that arrived together are made one here, in place, in the bytes just read: the
//! framing (RFC 9112, 7.1) stays framing, and the content stays what it was. Whatever is not plain (a head that comes in parts,
//! an extension, a trailer, nonsense) passes as it is from there on, for awc to judge.

/// Most digits of a chunk's size: beyond it the chunk is far larger than any read.
const MOST_DIGITS: usize = 7;
/// A joined chunk's size may take this many bytes with its line end, and always fits what joining saves: two size lines of at
/// least three bytes and one line end.
const SIZE_LINE: usize = 8;

/// Where in the answer the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the head.
    Head,
    /// In a chunk's size line, with the value and the number of the digits so far.
    Size(usize, usize),
    /// Behind the carriage return of a size line.
    SizeEnd(usize),
    /// In a chunk and its line end, with so many bytes left.
    Data(usize),
    /// Where nothing is to be joined any more.
    Rest,
}

/// Joins the chunks of one connection's answers.
#[derive(Debug)]
pub struct Chunks {
    at: At,
    /// Where the content of whole chunks lies in the bytes just read.
    whole: Vec<(usize, usize)>,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Rest, whole: Vec::new() }
    }
}

impl Chunks {
    /// The next bytes are the beginning of an answer.
    pub fn begin(&mut self) {
        self.at = At::Head;
    }

    /// Joins what it can of the bytes just read and returns how many are left of them.
    pub fn join(&mut self, read: &mut [u8]) -> usize {
        let mut place = 0;
        if self.at == At::Head {
            let body = body_of_chunks(read);
            self.at = if body.is_some() { At::Size(0, 0) } else { At::Rest };
            place = body.unwrap_or_default();
        }
        if self.at == At::Rest {
            return read.len();
        }
        self.whole.clear();
        let mut group = None;
        let mut end = place;
        while place < read.len() && self.at != At::Rest {
            let fresh = self.at == At::Size(0, 0);
            let begun = place;
            place = self.step(read, place);
            if !fresh {
                continue;
            }
            // A chunk that began here: is all of it there?
            let At::Data(left) = self.at else { break };
            if read.len() - place < left {
                break;
            }
            if read.get(place + left - 2..place + left) != Some(b"\r\n") {
                self.at = At::Rest;
                break;
            }
            group.get_or_insert(begun);
            self.whole.push((place, place + left - 2));
            place += left;
            end = place;
            self.at = At::Size(0, 0);
        }
        // What is left is the beginning of a chunk, or the end of the body.
        while place < read.len() && self.at != At::Rest {
            place = self.step(read, place);
        }
        match group {
            Some(begin) if self.whole.len() > 1 => self.close_ranks(read, begin, end),
            Some(_) | None => read.len(),
        }
    }

    /// Takes one step from `place`: a byte of a size line to its end, or as much of a chunk as is there.
    fn step(&mut self, read: &[u8], place: usize) -> usize {
        let mut place = place;
        while let Some(byte) = read.get(place) {
            self.at = match (self.at, *byte) {
                (At::Size(size, digits), digit) if digits < MOST_DIGITS && digit.is_ascii_hexdigit() => {
                    let value = char::from(digit).to_digit(16).unwrap_or_default();
                    At::Size(size << 4 | value as usize, digits + 1)
                }
                (At::Size(size, digits), b'\r') if digits > 0 => At::SizeEnd(size),
                // Nothing follows a last chunk that could be joined: trailers and the end of the body.
                (At::SizeEnd(size), b'\n') if size > 0 => {
                    self.at = At::Data(size + 2);
                    return place + 1;
                }
                (At::Data(left), _) => {
                    let there = left.min(read.len() - place);
                    self.at = if there == left { At::Size(0, 0) } else { At::Data(left - there) };
                    return place + there;
                }
                (At::Size(..) | At::SizeEnd(_) | At::Head | At::Rest, _) => At::Rest,
            };
            if self.at == At::Rest {
                return read.len();
            }
            place += 1;
        }
        place
    }

    /// Makes the whole chunks, which lie from `begin` to `end`, one.
    fn close_ranks(&self, read: &mut [u8], begin: usize, end: usize) -> usize {
        let size: usize = self.whole.iter().map(|(from, to)| to - from).sum();
        let mut line = [0; SIZE_LINE];
        let line = size_line(size, &mut line);
        let mut place = begin + line.len();
        for (from, to) in &self.whole {
            read.copy_within(*from..*to, place);
            place += to - from;
        }
        read[begin..begin + line.len()].copy_from_slice(line);
        read[place..place + 2].copy_from_slice(b"\r\n");
        place += 2;
        read.copy_within(end.., place);
        read.len() - (end - place)
    }
}

/// `size` as a chunk's size line; a read is far smaller than what its digits can tell.
fn size_line(size: usize, line: &mut [u8; SIZE_LINE]) -> &[u8] {
    let mut place = SIZE_LINE - 2;
    line[place..].copy_from_slice(b"\r\n");
    let mut left = size;
    while place > 0 {
        place -= 1;
        line[place] = b"0123456789abcdef"[left & 15];
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    &line[place..]
}

/// Where the body begins, if the head is all there, ends an answer that has a body, and says that it comes in chunks.
fn body_of_chunks(read: &[u8]) -> Option<usize> {
    let status = read.strip_prefix(b"HTTP/1.1 ")?.first()?;
    if !matches!(status, b'2'..=b'5') {
        return None;
    }
    let (mut place, mut chunked) = (0, false);
    loop {
        let end = place + memchr::memchr(b'\n', read.get(place..)?)?;
        let line = read.get(place..end)?.strip_suffix(b"\r")?;
        place = end + 1;
        if line.is_empty() {
            return chunked.then_some(place);
        }
        // Of a length beside the chunks awc must hear, and of another coding, too.
        chunked |= is_line(line, b"transfer-encoding", b"chunked");
        if is_line(line, b"content-length", b"") {
            return None;
        }
    }
}

/// Whether `line` has this name and, unless it is empty, this value.
fn is_line(line: &[u8], name: &[u8], value: &[u8]) -> bool {
    let Some((own, rest)) = line.split_at_checked(name.len()) else { return false };
    let Some((b':', rest)) = rest.split_first() else { return false };
    own.eq_ignore_ascii_case(name) && (value.is_empty() || rest.trim_ascii().eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: Chunked\r\n\r\n";

    fn chunked(parts: &[&str]) -> String {
        parts.iter().map(|part| format!("{:x}\r\n{part}\r\n", part.len())).collect()
    }

    /// What awc gets when the answer comes in reads of these sizes.
    fn joined(answer: &str, cuts: &[usize]) -> String {
        let mut chunks = Chunks::default();
        chunks.begin();
        let (mut out, mut rest) = (Vec::new(), answer.as_bytes());
        let mut cuts = cuts.iter().copied();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap_or(rest.len()).clamp(1, rest.len()));
            let mut read = now.to_vec();
            let length = chunks.join(&mut read);
            out.extend_from_slice(&read[..length]);
            rest = later;
        }
        String::from_utf8(out).unwrap()
    }

    /// A plain reading of a chunked body: the content, and what follows the last chunk.
    fn content(mut body: &str) -> (String, String) {
        let mut content = String::new();
        loop {
            let (size, rest) = body.split_once("\r\n").unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                return (content, rest.to_owned());
            }
            content.push_str(&rest[..size]);
            body = rest[size..].strip_prefix("\r\n").unwrap();
        }
    }

    #[test]
    fn a_burst_becomes_one_chunk_and_its_end_stays() {
        let answer = format!("{HEAD}{}0\r\n\r\n", chunked(&["a", "bb", "cccccccccccccccc"]));
        assert_eq!(joined(&answer, &[]), format!("{HEAD}13\r\nabbcccccccccccccccc\r\n0\r\n\r\n"));
    }

    #[test]
    fn the_beginning_of_a_chunk_stays_behind_what_is_joined_and_is_counted_on() {
        let body = chunked(&["aaaa", "bbbb", "cccc", "dddd", "eeee"]);
        let answer = format!("{HEAD}{body}0\r\n\r\n");
        // The third chunk comes in two parts.
        let joined = joined(&answer, &[HEAD.len() + 9 + 9 + 5]);
        assert_eq!(joined, format!("{HEAD}8\r\naaaabbbb\r\n4\r\ncccc\r\n8\r\nddddeeee\r\n0\r\n\r\n"));
    }

    #[test]
    fn what_is_not_plain_passes_as_it_is() {
        let body = chunked(&["aaaa", "bbbb"]);
        for answer in [
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{body}"),
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n{body}"),
            format!("HTTP/1.1 100 Continue\r\ntransfer-encoding: chunked\r\n\r\n{body}"),
            format!("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}"),
            format!("{HEAD}4;a=b\r\naaaa\r\n{body}0\r\n\r\n"),
            format!("{HEAD}zz\r\n{body}"),
            format!("{HEAD}2\r\naabb{body}0\r\n\r\n"),
            format!("{HEAD}\r\n{body}"),
            format!("{HEAD}0\r\nx-trailer: {body}\r\n\r\n"),
            format!("{HEAD}fffffffff\r\n{body}"),
        ] {
            assert_eq!(joined(&answer, &[]), answer, "{answer}");
        }
        let split = format!("{HEAD}{body}0\r\n\r\n");
        assert_eq!(joined(&split, &[20]), split, "a head in parts");
    }

    #[test]
    fn chunks_before_one_without_its_line_end_are_joined_and_that_one_is_left_to_awc() {
        let bad = "4\r\nccccXX4\r\ndddd\r\n4\r\neeee\r\n0\r\n\r\n";
        let answer = format!("{HEAD}{}{bad}", chunked(&["aa", "bb"]));
        assert_eq!(joined(&answer, &[]), format!("{HEAD}4\r\naabb\r\n{bad}"));
    }

    #[test]
    fn each_answer_of_a_connection_is_read_anew() {
        let mut chunks = Chunks::default();
        let answer = format!("{HEAD}{}0\r\n\r\n", chunked(&["a", "b"]));
        for _ in 0..2 {
            let mut untold = answer.clone().into_bytes();
            assert_eq!(chunks.join(&mut untold), answer.len(), "nobody asked anything");
            chunks.begin();
            let mut told = answer.clone().into_bytes();
            assert!(chunks.join(&mut told) < answer.len());
        }
    }

    proptest! {
        #[test]
        fn the_content_is_the_same_however_it_is_cut(
            parts in prop::collection::vec("[a-z\\r\\n0-9]{1,40}", 0..40),
            cuts in prop::collection::vec(1_usize..200, 0..60),
            trailer in prop_oneof![Just("\r\n"), Just("x-end: 1\r\n\r\n")],
        ) {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let answer = format!("{HEAD}{}0\r\n{trailer}", chunked(&parts));
            let mut cuts = cuts;
            cuts.insert(0, HEAD.len() + cuts.first().copied().unwrap_or(0));
            let joined = joined(&answer, &cuts);
            let body = joined.strip_prefix(HEAD).unwrap();
            prop_assert_eq!(content(body), (parts.concat(), trailer.to_owned()));
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(
            read in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'a'), any::<u8>()], 0..300),
            cut in 0_usize..300,
        ) {
            let mut chunks = Chunks { at: At::Size(0, 0), whole: Vec::new() };
            let cut = cut.min(read.len());
            for part in [&read[..cut], &read[cut..]] {
                let mut part = part.to_vec();
                prop_assert!(chunks.join(&mut part) <= part.len());
            }
        }
    }
}
