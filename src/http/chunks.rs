//! Answers as they arrive, made plain before awc sees them: interim answers left out, chunks joined.
//!
//! awc takes the first head for the answer, so an interim one that nobody asked for (RFC 9110, 15.2: 100, 102, 103) is left out.
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
    /// In the head of an interim answer, with so many bytes of the line so far.
    Interim(usize),
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

    /// Takes interim answers out of the bytes just read, joins what it can of the others, and returns how many are left.
    pub fn join(&mut self, read: &mut [u8]) -> usize {
        let interim = self.pass_over_interim(read);
        if interim > 0 {
            read.copy_within(interim.., 0);
        }
        let left = read.len() - interim;
        if left > 0 { self.join_chunks(&mut read[..left]) } else { 0 }
    }

    /// How many bytes at the beginning belong to interim answers.
    fn pass_over_interim(&mut self, read: &[u8]) -> usize {
        let mut place = 0;
        loop {
            match self.at {
                At::Head if is_interim(&read[place..]) => self.at = At::Interim(0),
                At::Interim(length) => {
                    let Some(byte) = read.get(place) else { return place };
                    place += 1;
                    self.at = match (byte, length) {
                        (b'\n', 0) => At::Head,
                        (b'\n', _) => At::Interim(0),
                        (b'\r', _) => At::Interim(length),
                        _ => At::Interim(length + 1),
                    };
                }
                At::Head | At::Size(..) | At::SizeEnd(_) | At::Data(_) | At::Rest => return place,
            }
        }
    }

    fn join_chunks(&mut self, read: &mut [u8]) -> usize {
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
                (At::Size(..) | At::SizeEnd(_) | At::Head | At::Interim(_) | At::Rest, _) => At::Rest,
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

/// Whether an interim answer begins here. After 101 another protocol would be spoken, and a status line in parts is awc's to judge.
fn is_interim(read: &[u8]) -> bool {
    matches!(read.strip_prefix(b"HTTP/1.1 1"), Some([tens, ones, ..]) if [*tens, *ones] != *b"01")
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
mod tests;
