//! Server-sent events as the admin API sends them: bytes in any chunking to events.

/// Longest line kept, bytes; a longer one is no event of ours.
const LONGEST_LINE: usize = 1 << 20;

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Where to go on after it.
    pub id: Option<String>,
    /// Its kind.
    pub kind: String,
    /// What it tells, JSON.
    pub data: String,
}

/// Reads a stream of events.
#[derive(Default)]
pub struct Reader {
    line: Vec<u8>,
    skipped: bool,
    event: Event,
}

impl Reader {
    /// Takes the next bytes, and gives the events that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                if !std::mem::take(&mut self.skipped) {
                    events.extend(self.line(String::from_utf8_lossy(&line).trim_end_matches('\r')));
                }
            } else if self.line.len() < LONGEST_LINE {
                self.line.push(byte);
            } else {
                self.skipped = true;
            }
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.kind),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // A comment, a ping, a field that we do not know.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": ping\n\nid: 7\r\nevent: park\r\ndata: {\"key\":\"a\"}\r\n\r\nretry: 5\nevent:reload\ndata:{}\n\nid: 9\n\n";

    #[test]
    fn events_are_whole_in_any_chunking() {
        let expected = [
            Event { id: Some("7".to_owned()), kind: "park".to_owned(), data: "{\"key\":\"a\"}".to_owned() },
            Event { id: None, kind: "reload".to_owned(), data: "{}".to_owned() },
        ];
        for size in 1..STREAM.len() {
            let mut reader = Reader::default();
            let events: Vec<Event> =
                STREAM.as_bytes().chunks(size).flat_map(|chunk| reader.feed(chunk)).collect();
            assert_eq!(events, expected, "{size} bytes at a time");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut reader = Reader::default();
        for _ in 0..3 {
            assert!(reader.feed(&vec![b'x'; LONGEST_LINE]).is_empty());
        }
        assert!(reader.line.len() <= LONGEST_LINE);
        assert_eq!(reader.feed(b"\n\ndata: 1\n\n").len(), 1);
    }
}
