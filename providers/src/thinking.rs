//! A request without the thinking of its earlier turns: for the one retry after upstream refused a thinking signature.
//!
//! Signatures are checked by whoever made them; a conversation that moved may carry some that its new place does not accept.
//! `thinking` and `redacted_thinking` blocks of assistant turns are cut out of the received bytes, and turns that held nothing else
//! go whole, since empty ones are refused. Everything else keeps its bytes.

use std::ops::Range;

use bytes::Bytes;

use crate::json::{Cursor, Flaw};
use crate::request::{MessagesRequest, scan};

/// The request without thinking in its assistant turns; `None` where there is none to take out.
#[must_use]
pub fn without_thinking(request: &MessagesRequest) -> Option<MessagesRequest> {
    let cuts = thinking(&request.body).ok().filter(|cuts| !cuts.is_empty())?;
    let mut body = Vec::with_capacity(request.body.len());
    let mut from = 0;
    for cut in cuts {
        body.extend_from_slice(request.body.get(from..cut.start)?);
        from = cut.end;
    }
    body.extend_from_slice(request.body.get(from..)?);
    let body = Bytes::from(body);
    // Offsets have moved. The nesting was judged on arrival.
    let outline = scan(&body, usize::MAX).ok()?;
    Some(MessagesRequest { body, outline, ..request.clone() })
}

/// What is to be cut out, in order.
fn thinking(body: &[u8]) -> Result<Vec<Range<usize>>, Flaw> {
    let mut cuts = Vec::new();
    Cursor::new(body, usize::MAX)?.members(|cursor, key| {
        if &*cursor.name(key) != b"messages" || cursor.peek() != Some(b'[') {
            return cursor.value().map(|_| ());
        }
        let mut turns = List::default();
        cursor.elements(|cursor| {
            let start = cursor.at();
            let turn = turn(cursor)?;
            turns.element(start..cursor.at(), turn.is_empty, turn.cuts);
            Ok::<(), Flaw>(())
        })?;
        cuts.extend(turns.cuts());
        Ok(())
    })?;
    Ok(cuts)
}

/// One message.
#[derive(Default)]
struct Turn {
    /// Its thinking.
    cuts: Vec<Range<usize>>,
    /// Whether thinking is all that it holds.
    is_empty: bool,
}

fn turn(cursor: &mut Cursor<'_>) -> Result<Turn, Flaw> {
    if cursor.peek() != Some(b'{') {
        return cursor.value().map(|_| Turn::default());
    }
    let (mut assistant, mut found) = (false, Turn::default());
    cursor.members(|cursor, key| {
        match (&*cursor.name(key), cursor.peek()) {
            (b"role", Some(b'"')) => {
                let role = cursor.string()?;
                assistant = &*cursor.name(&role) == b"assistant";
            }
            (b"content", Some(b'[')) => {
                let mut blocks = List::default();
                cursor.elements(|cursor| {
                    let start = cursor.at();
                    let gone = is_thinking(cursor)?;
                    blocks.element(start..cursor.at(), gone, Vec::new());
                    Ok::<(), Flaw>(())
                })?;
                found.is_empty = blocks.any && !blocks.kept;
                found.cuts = blocks.cuts();
            }
            _ => {
                cursor.value()?;
            }
        }
        Ok::<(), Flaw>(())
    })?;
    Ok(if assistant { found } else { Turn::default() })
}

/// Passes a block and tells whether it is thinking.
fn is_thinking(cursor: &mut Cursor<'_>) -> Result<bool, Flaw> {
    if cursor.peek() != Some(b'{') {
        return cursor.value().map(|_| false);
    }
    let mut thinks = false;
    cursor.members(|cursor, key| {
        if &*cursor.name(key) == b"type" && cursor.peek() == Some(b'"') {
            let kind = cursor.string()?;
            thinks = matches!(&*cursor.name(&kind), b"thinking" | b"redacted_thinking");
            return Ok(());
        }
        cursor.value().map(|_| ())
    })?;
    Ok::<bool, Flaw>(thinks)
}

/// A list some of whose elements go, each with one comma.
#[derive(Default)]
struct List {
    any: bool,
    kept: bool,
    /// Where the first element stands, while all so far go.
    leading: Option<usize>,
    behind: usize,
    cuts: Vec<Range<usize>>,
}

impl List {
    /// The next element; one that stays may have cuts of its own.
    fn element(&mut self, span: Range<usize>, goes: bool, within: Vec<Range<usize>>) {
        self.any = true;
        let end = span.end;
        if !goes {
            if let Some(first) = self.leading.take() {
                self.cuts.push(first..span.start);
            }
            self.kept = true;
            self.cuts.extend(within);
        } else if self.kept {
            self.cuts.push(self.behind..end);
        } else {
            self.leading.get_or_insert(span.start);
        }
        self.behind = end;
    }

    fn cuts(mut self) -> Vec<Range<usize>> {
        if let Some(first) = self.leading.take() {
            self.cuts.push(first..self.behind);
        }
        self.cuts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Operation;
    use crate::wire::Headers;

    fn stripped(body: &str) -> Option<String> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let outline = scan(&body, 64).unwrap();
        let headers = Headers::default();
        let request = MessagesRequest { operation: Operation::Messages, body, query: None, headers, outline };
        let request = without_thinking(&request)?;
        assert_eq!(&request.body[request.outline.model_span.clone()], br#""m""#);
        Some(String::from_utf8(request.body.to_vec()).unwrap())
    }

    #[test]
    fn thinking_of_assistant_turns_is_cut_out_and_nothing_else_changes() {
        for (before, after) in [
            (
                r#"{"messages":[{"role":"user","content":"a"}, {"role":"assistant","content":[ {"type":"thinking","thinking":"x","signature":"s"} , {"type":"text", "text":"\u00e9"}]},{"role":"user","content":"b"}],"model":"m"}"#,
                r#"{"messages":[{"role":"user","content":"a"}, {"role":"assistant","content":[ {"type":"text", "text":"\u00e9"}]},{"role":"user","content":"b"}],"model":"m"}"#,
            ),
            (
                r#"{"messages":[{"content":[{"type":"text"},{"type":"redacted_thinking","data":"x"},{"type":"tool_use","input":{"type":"thinking"}},{"type":"thinking"}],"role":"assistant"}],"model":"m"}"#,
                r#"{"messages":[{"content":[{"type":"text"},{"type":"tool_use","input":{"type":"thinking"}}],"role":"assistant"}],"model":"m"}"#,
            ),
            // A turn of thinking alone goes whole.
            (
                r#"{"model":"m","messages":[{"role":"assistant","content":[{"type":"thinking"}]},{"role":"user","content":"b"},{"role":"assistant","content":[{"type":"thinking"},{"type":"thinking"}]}]}"#,
                r#"{"model":"m","messages":[{"role":"user","content":"b"}]}"#,
            ),
        ] {
            assert_eq!(stripped(before).as_deref(), Some(after));
        }
    }

    #[test]
    fn without_thinking_there_is_nothing_to_do() {
        for body in [
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"thinking"}]}]}"#,
            r#"{"model":"m","messages":[{"role":"assistant","content":[]},{"role":"assistant","content":"thinking"}, 7]}"#,
            r#"{"model":"m","messages":{"role":"assistant","content":[{"type":"thinking"}]}}"#,
            r#"{"model":"m","thinking":{"type":"enabled"}}"#,
        ] {
            assert_eq!(stripped(body), None, "{body}");
        }
    }
}
