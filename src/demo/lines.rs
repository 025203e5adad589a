//! The plain view: one line a second, and one for each event, for logs and pipes.

use std::io::{self, Write};
use std::time::Duration;

use super::board::{Board, Event, EventKind};
use crate::clock::Moment;

/// Writes lines.
pub struct Lines<W> {
    out: W,
    start: Moment,
    next: Duration,
}

impl<W: Write> Lines<W> {
    /// Lines of a story that began at `start`.
    pub fn new(out: W, start: Moment) -> Self {
        Self { out, start, next: Duration::from_secs(1) }
    }

    /// Shows what happened, and once a second how things stand.
    ///
    /// # Errors
    /// Output that cannot be written.
    pub fn show(&mut self, board: &Board, events: &[Event]) -> io::Result<()> {
        for event in events {
            writeln!(self.out, "{} {} {}", self.time(event.at), mark(event.kind), event.text)?;
        }
        let now = board.now.at;
        if now.since(self.start) >= self.next {
            self.next += Duration::from_secs(1);
            writeln!(self.out, "{}   {}", self.time(now), standing(board))?;
        }
        self.out.flush()
    }

    fn time(&self, at: Moment) -> String {
        format!("[{:5.1} s]", at.since(self.start).as_secs_f64())
    }
}

/// A word or two that tell events apart without colour.
fn mark(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Story => "==",
        EventKind::Parked | EventKind::Opened => " -",
        EventKind::Back | EventKind::Closed => " +",
        EventKind::Error => " !",
    }
}

fn standing(board: &Board) -> String {
    let reading = &board.now;
    let callers = &reading.callers;
    let millis = |span: Duration| span.as_millis();
    let latency = callers.latency.map_or_else(String::new, |(half, most)| {
        format!("  p50 {} ms  p99 {} ms", millis(half), millis(most))
    });
    let broken = reading.breakers.iter().filter(|breaker| breaker.state != "closed").count();
    format!(
        "{:.0} requests/s{latency}  in flight {}  keys serving {}/{}  breakers open {broken}  429s absorbed {}  \
         other faults absorbed {}  caller-visible errors {}",
        board.rate(),
        callers.in_flight,
        board.serving(),
        reading.keys.len(),
        board.rate_limits(),
        board.other_faults().values().sum::<u64>(),
        callers.errors,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_line_and_every_second_one() {
        let mut out = Vec::new();
        let at = |millis: u64| Moment::from_micros(millis * 1000);
        let mut lines = Lines::new(&mut out, at(500));
        let mut board = Board::default();
        for step in 0..=20 {
            board.now.at = at(500 + step * 100);
            let event = Event { at: board.now.at, kind: EventKind::Back, text: "org-b is back".to_owned() };
            lines.show(&board, if step == 13 { std::slice::from_ref(&event) } else { &[] }).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("[  1.0 s]   0 requests/s"), "{text}");
        assert_eq!(lines[1], "[  1.3 s]  + org-b is back");
        assert!(lines[2].starts_with("[  2.0 s]"), "{text}");
    }
}
