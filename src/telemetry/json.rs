//! One log event as one line of JSON, written straight into one buffer: the line of a good request is on the hot path, and a
//! general serialiser costs several times as much.
//!
//! Shape: `timestamp`, `level`, the event's own fields in their order (`message` among them), `target`. A field that was not
//! recorded is left out.

mod number;
mod stamp;

use std::cell::Cell;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;

/// Usual length of a request's line.
const LINE: usize = 640;
/// A longer line's buffer is not kept.
const KEPT: usize = 4096;

thread_local! {
    /// The buffer of the last line, to be used again.
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

/// Formats events as lines of JSON.
#[derive(Clone, Copy, Debug)]
pub struct JsonLine {
    /// Tells when an event was.
    pub clock: Clock,
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut line = BUFFER.take();
        line.clear();
        line.reserve(LINE);
        line.push_str("{\"timestamp\":\"");
        stamp::push(&mut line, self.clock.wall());
        line.push_str("\",\"level\":\"");
        line.push_str(metadata.level().as_str());
        line.push('"');
        event.record(&mut Fields(&mut line));
        line.push_str(",\"target\":");
        push_text(&mut line, metadata.target());
        line.push_str("}\n");
        let written = writer.write_str(&line);
        if line.capacity() <= KEPT {
            BUFFER.set(line);
        }
        written
    }
}

/// Appends fields to the line.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        self.0.push_str(",\"");
        // Field names are identifiers of our own code and need no escape.
        self.0.push_str(field.name());
        self.0.push_str("\":");
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        let written = write!(self.0, "{value}");
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
    }
}

impl Visit for Fields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        number::push_whole(self.0, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.0.push_str(if value { "true" } else { "false" });
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.name(field);
            number::push(self.0, value);
        } else {
            self.plain(field, "null");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        push_text(self.0, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.0.push('"');
        let written = write!(Escaped(self.0), "{value:?}");
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
        self.0.push('"');
    }
}

fn push_text(line: &mut String, text: &str) {
    line.push('"');
    push_escaped(line, text);
    line.push('"');
}

/// Escapes as JSON demands (RFC 8259, section 7).
fn push_escaped(line: &mut String, text: &str) {
    let mut rest = text;
    // Nearly every text has nothing to escape, and to see only that much is faster than to look for the place.
    while !is_plain(rest.as_bytes())
        && let Some(at) = rest.bytes().position(special)
    {
        let (plain, from) = rest.split_at(at);
        line.push_str(plain);
        let (special, after) = from.split_at(1);
        match special {
            "\"" => line.push_str("\\\""),
            "\\" => line.push_str("\\\\"),
            "\n" => line.push_str("\\n"),
            "\r" => line.push_str("\\r"),
            "\t" => line.push_str("\\t"),
            other => {
                let code = other.bytes().next().unwrap_or_default();
                let written = write!(line, "\\u{code:04x}");
                debug_assert!(written.is_ok(), "writing to a String cannot fail");
            }
        }
        rest = after;
    }
    line.push_str(rest);
}

/// Whether nothing is to be escaped. Steps of a fixed size without early exit inside become vector instructions; the last one may
/// overlap the one before.
fn is_plain(text: &[u8]) -> bool {
    let plain = |bytes: &[u8]| !bytes.iter().fold(false, |found, byte| found | special(*byte));
    match text.last_chunk::<16>() {
        Some(last) => text.as_chunks::<16>().0.iter().all(|chunk| plain(chunk)) && plain(last),
        None => plain(text),
    }
}

fn special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Escapes what is written through it.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_escaped(self.0, text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(emit: impl FnOnce()) -> serde_json::Value {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(JsonLine { clock: Clock::machine() })
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), emit);
        let bytes = buffer.0.lock().expect("unpoisoned").clone();
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[test]
    fn a_line_holds_every_recorded_field_with_its_type() {
        let line = logged(|| {
            tracing::info!(
                target: "headgate::request",
                status = 200_u16,
                queue_ms = 0.25,
                stream = true,
                tenant = None::<&str>,
                model = %"claude",
                "request"
            );
        });
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "request");
        assert_eq!(line["target"], "headgate::request");
        assert_eq!(line["status"], 200);
        assert_eq!(line["queue_ms"], 0.25);
        assert_eq!(line["stream"], true);
        assert_eq!(line["model"], "claude");
        assert_eq!(line.get("tenant"), None);
        let timestamp = line["timestamp"].as_str().expect("a timestamp");
        assert!(timestamp.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
    }

    proptest! {
        #[test]
        fn any_text_survives(text in any::<String>()) {
            let line = logged(|| tracing::warn!(plain = text.as_str(), shown = %text, "{}", text));
            prop_assert_eq!(line["plain"].as_str(), Some(text.as_str()));
            prop_assert_eq!(line["shown"].as_str(), Some(text.as_str()));
            prop_assert_eq!(line["message"].as_str(), Some(text.as_str()));
        }
    }
}
