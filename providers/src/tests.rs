//! What the dialects' tests share: requests, tables of error answers, and what a decoder made of a stream.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::fault::{Fault, FaultKind};
use crate::frame::{Decoder, Frame, Mark, Usage};
use crate::request::{MessagesRequest, Operation, scan};
use crate::wire::{Headers, WireHead};

/// 2026-11-21T12:00:00Z, the moment that recorded answers are read at.
pub fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_262_400)
}

pub fn headers(lines: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in lines {
        headers.push((*name).to_owned(), (*value).to_owned());
    }
    headers
}

pub fn request(operation: Operation, body: &str, lines: &[(&str, &str)]) -> MessagesRequest {
    let outline = scan(body.as_bytes(), 64).unwrap();
    let body = Bytes::copy_from_slice(body.as_bytes());
    MessagesRequest { operation, body, query: None, headers: headers(lines), outline }
}

/// One error answer of a table, and what is to be made of it.
pub struct Case {
    pub title: &'static str,
    pub head: WireHead,
    pub body: &'static str,
    pub expected: &'static str,
}

/// The cases of `testdata/errors.txt`: `== TITLE`, status, headers, an empty line, the body, `=> EXPECTED`.
pub fn cases(table: &'static str) -> Vec<Case> {
    table.split("\n== ").skip(1).map(case).collect()
}

fn case(text: &'static str) -> Case {
    let (title, text) = text.split_once('\n').unwrap();
    let (head, text) = text.split_once("\n\n").unwrap();
    let (body, expected) = text.split_once("=> ").unwrap();
    let (status, lines) = head.split_once('\n').unwrap_or((head, ""));
    let lines: Vec<_> = lines.lines().map(|line| line.split_once(": ").unwrap()).collect();
    let head = WireHead { status: status.parse().unwrap(), headers: headers(&lines) };
    Case { title, head, body: body.trim_end(), expected: expected.trim() }
}

/// What the tables say of every fault: kind, limit, and how long upstream said to wait.
pub fn summary(fault: &Fault) -> Vec<String> {
    vec![
        fault.kind.name().to_owned(),
        fault.dimension.map_or("-", |dimension| dimension.name()).to_owned(),
        fault.stated.map_or("-".to_owned(), |it| format!("{}/{}", it.after.as_secs_f64(), it.source.name())),
    ]
}

/// What a decoder made of a body, free of how the body was cut.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    pub bytes: Vec<u8>,
    /// Marks in order, equal neighbours once; `P`, `C`, `S`, `E`.
    pub marks: String,
    pub usage: Option<Usage>,
    pub fault: Option<FaultKind>,
}

impl Heard {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    fn take(&mut self, frames: Vec<Frame>, is_whole: fn(&[u8]) -> bool) {
        for frame in frames {
            assert!(
                !frame.bytes.is_empty() && is_whole(&frame.bytes),
                "whole events only: {:?}",
                frame.bytes
            );
            self.bytes.extend_from_slice(&frame.bytes);
            self.usage = frame.usage.or(self.usage);
            let letter = match &frame.mark {
                Mark::Prelude => 'P',
                Mark::Content => 'C',
                Mark::Stop => 'S',
                Mark::Error(fault) => {
                    self.fault = Some(fault.kind);
                    'E'
                }
            };
            if !self.marks.ends_with(letter) {
                self.marks.push(letter);
            }
        }
    }
}

/// Feeds `chunks` and ends the body; every frame must be whole, as `is_whole` judges its bytes.
pub fn hear<'a>(
    decoder: &mut dyn Decoder,
    chunks: impl Iterator<Item = &'a [u8]>,
    is_whole: fn(&[u8]) -> bool,
) -> Heard {
    let mut heard = Heard::default();
    for chunk in chunks {
        let mut out = Vec::new();
        let result = decoder.feed(Bytes::copy_from_slice(chunk), &mut out);
        heard.take(out, is_whole);
        if let Err(fault) = result {
            heard.fault = Some(fault.kind);
            return heard;
        }
    }
    let mut out = Vec::new();
    let result = decoder.end(&mut out);
    heard.take(out, is_whole);
    heard.fault = heard.fault.or(result.err().map(|fault| fault.kind));
    heard
}
