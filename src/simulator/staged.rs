//! Answers that go wrong on the wire, as a play of exact writes and an ending.
//!
//! hyper frames only sound answers, so a faulty one is written by hand: head, chunks and all. Pure: the socket is
//! elsewhere.

use std::fmt::Write;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::bedrock::frames::{self, Oddity};
use super::error::ApiError;
use super::events::Event;
use super::fault::{Fault, FaultKind};
use super::mishap::PAGE;
use super::reply::{Flow, Piece, PieceKind, Reply};

/// What happens to the connection when everything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curtain {
    /// RST.
    Reset,
    /// A bare FIN, without TLS `close_notify`.
    Fin,
    /// An orderly close.
    Close,
    /// It stays open, silent, until the client leaves.
    Hang,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Line {
    /// The pause before it.
    pub after: Duration,
    /// The bytes.
    pub bytes: Bytes,
    /// Output tokens charged with it.
    pub tokens: u64,
}

/// Writes and an ending.
#[derive(Clone, Debug)]
pub struct Play {
    /// The writes, in order.
    pub lines: Vec<Line>,
    /// The ending.
    pub curtain: Curtain,
    /// The answer was handed over whole.
    pub complete: bool,
}

/// How the end of the body is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Chunked,
    Length(usize),
    UntilClose,
}

/// Whether a fault needs the wire; every other fault is an answer or a delay.
pub fn needs_wire(fault: &Fault) -> bool {
    fault.unread() || wire_kind(fault.kind)
}

fn wire_kind(kind: FaultKind) -> bool {
    use FaultKind as K;
    match kind {
        K::None
        | K::InvalidKey
        | K::Billing
        | K::Forbidden
        | K::ModelNotFound
        | K::NotFound
        | K::RateLimited => false,
        K::EnforcedSpendLimit | K::RampLimit | K::UsageLimit | K::WorkspaceUsageLimit | K::LowCredit => false,
        K::OnHold | K::BadRequest | K::TooLarge | K::Unprocessable | K::ServerError | K::Unavailable => false,
        K::Timeout | K::Overloaded | K::Html | K::Raw | K::SlowRead | K::Delay => false,
        K::Early413 | K::CloseBeforeHead | K::ResetBeforeHead | K::StallBeforeHead | K::Reset | K::Fin => {
            true
        }
        K::Close | K::EndEarly | K::Stall | K::Pings | K::ErrorEvent | K::HoldOpen | K::DuplicateStop => true,
        K::GarbageHead | K::Garbage | K::WrongContentType | K::IncompleteJson | K::Unframed => true,
        K::EarlyHints | K::CloseAfter | K::ByteWrites => true,
        K::ExceptionFrame | K::ErrorFrame | K::CorruptCrc | K::OversizedFrame | K::KeepAlives => true,
        K::Exception | K::GoogleError | K::SharedCapacity | K::ProvisionedThroughput => false,
    }
}

/// Stages an answer with its fault.
pub fn stage(reply: &Reply, fault: &Fault, request_id: &str) -> Play {
    use FaultKind as K;
    let nothing = |curtain| Play { lines: Vec::new(), curtain, complete: false };
    let framing = if reply.streamed() { Framing::Chunked } else { Framing::Length(reply.length()) };
    let stage = Stage { reply, fault, framing };
    match fault.kind {
        K::CloseBeforeHead => nothing(Curtain::Close),
        K::ResetBeforeHead => nothing(Curtain::Reset),
        K::StallBeforeHead => nothing(Curtain::Hang),
        K::Reset => stage.broken(Curtain::Reset),
        K::Fin => stage.broken(Curtain::Fin),
        K::Close => stage.broken(Curtain::Close),
        K::Stall => stage.broken(Curtain::Hang),
        K::EndEarly | K::IncompleteJson => stage.early_end(),
        K::Pings => stage.pings(),
        K::ErrorEvent | K::ExceptionFrame | K::ErrorFrame => stage.error_event(request_id),
        K::CorruptCrc | K::OversizedFrame | K::KeepAlives => stage.odd(),
        K::HoldOpen => stage.held_open(),
        K::DuplicateStop => stage.duplicate_stop(),
        K::GarbageHead => Play { lines: vec![line(GARBAGE)], curtain: Curtain::Close, complete: false },
        K::Garbage => stage.garbage(),
        K::WrongContentType => stage.page(),
        K::Unframed => Stage { framing: Framing::UntilClose, ..stage }.whole(),
        K::EarlyHints => stage.behind_hints(),
        K::ByteWrites => stage.byte_by_byte(),
        // What goes wrong with these is in the answer, or happens around it.
        K::None | K::CloseAfter | K::SlowRead | K::Delay | K::Early413 | K::Timeout => stage.whole(),
        K::InvalidKey | K::Billing | K::Forbidden | K::OnHold | K::LowCredit => stage.whole(),
        K::ModelNotFound | K::NotFound | K::BadRequest | K::TooLarge | K::Unprocessable => stage.whole(),
        K::RateLimited | K::RampLimit | K::SharedCapacity | K::ProvisionedThroughput => stage.whole(),
        K::EnforcedSpendLimit | K::UsageLimit | K::WorkspaceUsageLimit => stage.whole(),
        K::ServerError | K::Unavailable | K::Overloaded | K::Exception | K::GoogleError => stage.whole(),
        K::Html | K::Raw => stage.whole(),
    }
}

const GARBAGE: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\xfc\x03\x03 this is no HTTP \xff\xfe\r\n\r\n";

#[derive(Clone, Copy)]
struct Stage<'a> {
    reply: &'a Reply,
    fault: &'a Fault,
    framing: Framing,
}

impl Stage<'_> {
    /// The whole answer, and then the connection's end.
    fn whole(self) -> Play {
        let mut lines = vec![line(self.head())];
        lines.extend(self.reply.pieces.iter().map(|piece| self.framed(piece)));
        lines.extend(self.terminator());
        Play { lines, curtain: Curtain::Close, complete: true }
    }

    fn broken(self, curtain: Curtain) -> Play {
        let (before, _) = self.divided(4);
        let mut lines = vec![line(self.head())];
        lines.extend(before.iter().map(|piece| self.framed(piece)));
        Play { lines: self.joined(lines), curtain, complete: false }
    }

    /// Sound framing around a part of the body.
    fn early_end(self) -> Play {
        let mut part = self;
        let mut knobs = self.fault.clone();
        if self.fault.kind == FaultKind::IncompleteJson {
            knobs.knobs.mid_event = true;
        }
        part.fault = &knobs;
        let (before, _) = part.divided(4);
        if let Framing::Length(_) = part.framing {
            part.framing = Framing::Length(before.iter().map(|piece| piece.bytes.len()).sum());
        }
        let mut lines = vec![line(part.head())];
        lines.extend(before.iter().map(|piece| part.framed(piece)));
        lines.extend(part.terminator());
        Play { lines, curtain: Curtain::Close, complete: false }
    }

    fn pings(self) -> Play {
        let (before, rest) = self.divided(1);
        let every = Duration::from_millis(self.fault.knobs.every_ms.unwrap_or(100).max(1));
        let pings =
            self.fault.knobs.for_ms.unwrap_or(1_000) / u64::try_from(every.as_millis()).unwrap_or(1).max(1);
        let mut lines = vec![line(self.head())];
        lines.extend(before.iter().map(|piece| self.framed(piece)));
        if self.reply.streamed() {
            let frames = self.reply.flow == Flow::EventStream;
            let ping = if frames { frames::ping() } else { Event::ping().frame().into() };
            let ping = Piece { after: every, ..Piece::plain(ping) };
            lines.extend((0..pings).map(|_| self.framed(&ping)));
        }
        lines.extend(rest.iter().map(|piece| self.framed(piece)));
        lines.extend(self.terminator());
        Play { lines, curtain: Curtain::Close, complete: true }
    }

    fn error_event(self, request_id: &str) -> Play {
        if self.reply.flow != Flow::Sse {
            return self.odd();
        }
        let knobs = &self.fault.knobs;
        let mut error = ApiError::new(529, knobs.message.clone().unwrap_or_else(|| "Overloaded".to_owned()));
        if let Some(kind) = &knobs.error_type {
            error.kind.clone_from(kind);
        }
        error.code.clone_from(&knobs.error_code);
        let (before, _) = self.divided(2);
        let mut lines = vec![line(self.head())];
        lines.extend(before.iter().map(|piece| self.framed(piece)));
        lines.push(self.framed(&Piece::plain(Event::error(error.body(request_id)).frame())));
        let mut lines = self.joined(lines);
        lines.extend(self.terminator());
        Play { lines, curtain: Curtain::Close, complete: false }
    }

    /// A frame that goes wrong. Only an event stream has frames.
    fn odd(self) -> Play {
        let Some((oddity, usual)) = oddity(self.fault.kind).filter(|_| self.reply.flow == Flow::EventStream)
        else {
            return self.whole();
        };
        let (before, mut rest) = self.divided(usual);
        let next = rest.first().map(|piece| piece.bytes.clone()).unwrap_or_default();
        let odd = frames::odd(oddity, &self.fault.knobs, &next);
        if odd.replaces && !rest.is_empty() {
            rest.remove(0);
        }
        let mut lines = vec![line(self.head())];
        lines.extend(before.iter().map(|piece| self.framed(piece)));
        lines.push(self.framed(&Piece::plain(odd.bytes)));
        if odd.goes_on {
            lines.extend(rest.iter().map(|piece| self.framed(piece)));
        }
        let mut lines = self.joined(lines);
        lines.extend(self.terminator());
        Play { lines, curtain: Curtain::Close, complete: oddity == Oddity::KeepAlives }
    }

    /// All but the framing's end, which never comes.
    fn held_open(self) -> Play {
        let mut play = self.whole();
        if self.reply.streamed() {
            play.lines.pop();
        }
        Play { curtain: Curtain::Hang, ..play }
    }

    /// A web server's page in place of the answer.
    fn page(self) -> Play {
        let mut reply = Reply::whole(200, "text/html; charset=UTF-8", PAGE);
        reply.headers.extend(reply_headers_without_type(self.reply));
        let framing = Framing::Length(reply.length());
        Stage { reply: &reply, fault: self.fault, framing }.whole()
    }

    fn behind_hints(self) -> Play {
        let mut play = self.whole();
        play.lines.insert(0, line("HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n"));
        play
    }

    fn byte_by_byte(self) -> Play {
        let mut play = self.whole();
        play.lines = play.lines.into_iter().flat_map(by_bytes).collect();
        play
    }

    fn duplicate_stop(self) -> Play {
        let mut play = self.whole();
        if let (true, Some(stop)) = (self.reply.streamed(), self.reply.pieces.last()) {
            play.lines.insert(play.lines.len() - 1, self.framed(stop));
        }
        play
    }

    fn garbage(self) -> Play {
        if !self.reply.streamed() {
            let stage = Stage { framing: Framing::Length(GARBAGE.len()), ..self };
            let lines = vec![line(stage.head()), line(GARBAGE)];
            return Play { lines, curtain: Curtain::Close, complete: false };
        }
        let (before, rest) = self.divided(4);
        let mut lines = vec![line(self.head())];
        lines.extend(before.iter().map(|piece| self.framed(piece)));
        lines.push(self.framed(&Piece::plain(GARBAGE)));
        lines.extend(rest.iter().map(|piece| self.framed(piece)));
        lines.extend(self.terminator());
        Play { lines, curtain: Curtain::Close, complete: false }
    }

    /// With `same_chunk`, everything behind the head becomes one chunk in one write.
    fn joined(self, lines: Vec<Line>) -> Vec<Line> {
        if !self.fault.knobs.same_chunk || lines.len() < 3 {
            return lines;
        }
        let tokens = lines.iter().map(|line| line.tokens).sum();
        let mut all = BytesMut::new();
        for line in &lines[1..] {
            all.extend_from_slice(unframed(&line.bytes, self.framing));
        }
        let piece = Piece { tokens, ..Piece::plain(all) };
        vec![lines[0].clone(), Line { after: lines[1].after, ..self.framed(&piece) }]
    }

    /// The pieces before the break and those behind it; `usual` events when nothing is said.
    fn divided(self, usual: usize) -> (Vec<Piece>, Vec<Piece>) {
        let (pieces, knobs) = (&self.reply.pieces, &self.fault.knobs);
        if let Some(bytes) = knobs.after_bytes {
            return divide_at_byte(pieces, bytes);
        }
        if !self.reply.streamed() {
            return divide_at_byte(pieces, self.reply.length() / 2);
        }
        let count = match (knobs.after_deltas, knobs.after_events) {
            (Some(deltas), _) => after_deltas(pieces, deltas),
            (None, Some(events)) => events,
            (None, None) => usual,
        };
        let (before, rest) = pieces.split_at(count.min(pieces.len()));
        let (mut before, rest) = (before.to_vec(), rest.to_vec());
        if let (true, Some(next)) = (knobs.mid_event, rest.first()) {
            before.push(Piece { bytes: next.bytes.slice(..next.bytes.len() / 2), ..next.clone() });
        }
        (before, rest)
    }

    fn head(self) -> String {
        let reason = reason(self.reply.status);
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.reply.status);
        let mut add = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        };
        for (name, value) in &self.reply.headers {
            add(name, value);
        }
        match self.framing {
            Framing::Chunked => add("transfer-encoding", "chunked"),
            Framing::Length(length) => add("content-length", &length.to_string()),
            Framing::UntilClose => {}
        }
        if ends_openly(self.fault) {
            add("connection", "close");
        }
        head.push_str("\r\n");
        head
    }

    fn framed(self, piece: &Piece) -> Line {
        let bytes = match self.framing {
            Framing::Length(_) | Framing::UntilClose => piece.bytes.clone(),
            Framing::Chunked => {
                let mut chunk = BytesMut::from(format!("{:x}\r\n", piece.bytes.len()).as_bytes());
                chunk.extend_from_slice(&piece.bytes);
                chunk.extend_from_slice(b"\r\n");
                chunk.freeze()
            }
        };
        Line { after: piece.after, bytes, tokens: piece.tokens }
    }

    fn terminator(self) -> Option<Line> {
        (self.framing == Framing::Chunked).then(|| line("0\r\n\r\n"))
    }
}

/// The frame that a kind stands for, and after how many good ones it comes when nothing is said.
fn oddity(kind: FaultKind) -> Option<(Oddity, usize)> {
    let kinds = [
        (FaultKind::ExceptionFrame, Oddity::Exception { usual: "throttlingException" }, 0),
        (FaultKind::ErrorEvent, Oddity::Exception { usual: "serviceUnavailableException" }, 1),
        (FaultKind::ErrorFrame, Oddity::Error, 0),
        (FaultKind::CorruptCrc, Oddity::CorruptCrc, 3),
        (FaultKind::OversizedFrame, Oddity::Oversized, 3),
        (FaultKind::KeepAlives, Oddity::KeepAlives, 1),
    ];
    let found = kinds.into_iter().find(|(known, ..)| *known == kind);
    found.map(|(_, oddity, usual)| (oddity, usual))
}

/// Whether `connection: close` announces the end.
fn ends_openly(fault: &Fault) -> bool {
    matches!(
        fault.kind,
        FaultKind::EarlyHints
            | FaultKind::ByteWrites
            | FaultKind::Unframed
            | FaultKind::Early413
            | FaultKind::Pings
    ) || fault.unread()
}

fn reply_headers_without_type(reply: &Reply) -> impl Iterator<Item = (String, String)> {
    reply.headers.iter().filter(|(name, _)| name != "content-type").cloned()
}

/// The bytes inside a chunk.
fn unframed(bytes: &Bytes, framing: Framing) -> &[u8] {
    if framing != Framing::Chunked {
        return bytes;
    }
    let start = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    &bytes[start..bytes.len().saturating_sub(2).max(start)]
}

fn after_deltas(pieces: &[Piece], deltas: usize) -> usize {
    let mut seen = 0;
    let passed = |piece: &&Piece| {
        seen += usize::from(piece.kind == PieceKind::Delta);
        seen < deltas
    };
    if deltas == 0 {
        return pieces.iter().take_while(|piece| piece.kind != PieceKind::Delta).count();
    }
    pieces.iter().take_while(passed).count() + 1
}

fn divide_at_byte(pieces: &[Piece], bytes: usize) -> (Vec<Piece>, Vec<Piece>) {
    let (mut before, mut rest, mut left) = (Vec::new(), Vec::new(), bytes);
    for piece in pieces {
        let cut = left.min(piece.bytes.len());
        left -= cut;
        if cut > 0 {
            before.push(Piece { bytes: piece.bytes.slice(..cut), ..piece.clone() });
        }
        if cut < piece.bytes.len() {
            rest.push(Piece { bytes: piece.bytes.slice(cut..), ..piece.clone() });
        }
    }
    (before, rest)
}

fn by_bytes(whole: Line) -> impl Iterator<Item = Line> {
    (0..whole.bytes.len()).map(move |at| Line {
        after: if at == 0 { whole.after } else { Duration::ZERO },
        bytes: whole.bytes.slice(at..=at),
        tokens: if at == 0 { whole.tokens } else { 0 },
    })
}

fn line(bytes: impl Into<Bytes>) -> Line {
    Line { after: Duration::ZERO, bytes: bytes.into(), tokens: 0 }
}

fn reason(status: u16) -> &'static str {
    let status = hyper::StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or("Unknown")
}
