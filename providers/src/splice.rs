//! Edits of a JSON object without printing it again: members are cut out of and set into the received bytes.
//!
//! [`Edit`] changes the top level; [`cut`] and [`members`] let a dialect walk further down and drop members there. What is not named
//! stays as it was received, spelling and order included, and shares its memory: the outcome is a list of slices. A key
//! counts however it is spelt (escapes) and as often as it stands. Set members come first.

use std::ops::Range;

use bytes::Bytes;

use crate::fault::{Fault, FaultKind};
use crate::json::{Cursor, Flaw};

/// Changes to the top level of a body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edit<'a> {
    removed: Vec<&'a str>,
    /// The members as they will stand, `"key":value`, each with its key.
    set: Vec<(&'a str, Vec<u8>)>,
}

impl<'a> Edit<'a> {
    /// Removes the member `key`, where it is.
    #[must_use]
    #[allow(
        dead_code,
        reason = "only dialects that are not built yet remove members without looking further down"
    )]
    pub fn remove(mut self, key: &'a str) -> Self {
        self.removed.push(key);
        self
    }

    /// Sets `key` (plain ASCII, no quotes) to `json` (one value), in place of whatever it was.
    #[must_use]
    pub fn set(mut self, key: &'a str, json: &[u8]) -> Self {
        self.set.push((key, [b"\"", key.as_bytes(), b"\":", json].concat()));
        self
    }

    /// The edited body.
    ///
    /// # Errors
    /// [`FaultKind::Inexpressible`] where the body is no JSON object.
    pub fn apply(&self, body: &Bytes) -> Result<Vec<Bytes>, Fault> {
        let edited = cut(body, |cursor, key, _| {
            cursor.value()?;
            let gone = self.removed.contains(&key) || self.set.iter().any(|(set, _)| *set == key);
            Ok(if gone { Keep::No } else { Keep::Yes })
        })?;
        Ok(edited.with(self.set.iter().map(|(_, member)| member.as_slice())))
    }
}

/// A body some of whose members are cut out.
#[derive(Debug)]
pub(crate) struct Cut<'a> {
    body: &'a Bytes,
    /// Where the first member stands.
    inside: usize,
    kept: bool,
    cuts: Cuts,
}

impl Cut<'_> {
    /// The edited body with these members (`"key":value`) in front of what stayed.
    pub fn with<'m>(self, members: impl Iterator<Item = &'m [u8]>) -> Vec<Bytes> {
        let mut front = Vec::new();
        for member in members {
            if !front.is_empty() {
                front.push(b',');
            }
            front.extend_from_slice(member);
        }
        if self.kept && !front.is_empty() {
            front.push(b',');
        }
        slices(self.body, self.inside, front, self.cuts)
    }
}

/// Asks `member` about every member of the top level: it must pass the value, and may drop members inside of it by way of
/// [`members`].
///
/// # Errors
/// [`FaultKind::Inexpressible`] where the body is no JSON object.
pub(crate) fn cut<'a>(
    body: &'a Bytes,
    member: impl FnMut(&mut Cursor<'_>, &str, &mut Cuts) -> Result<Keep, Flaw>,
) -> Result<Cut<'a>, Fault> {
    let read = || {
        let mut cursor = Cursor::new(body, usize::MAX)?;
        let inside = cursor.at() + 1;
        let mut cuts = Cuts::default();
        let kept = members(&mut cursor, &mut cuts, member)?;
        cursor.finish()?;
        Ok(Cut { body, inside, kept, cuts })
    };
    read().map_err(|flaw: Flaw| {
        let detail = format!("the body cannot be edited: {} at byte {}", flaw.what, flaw.at);
        Fault::new(FaultKind::Inexpressible, detail)
    })
}

/// What happens to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It stays.
    Yes,
    /// It is cut out, with the comma that belongs to it.
    No,
}

/// What is cut out of a document.
#[derive(Debug, Default)]
pub(crate) struct Cuts(Vec<Range<usize>>);

/// Passes an object, asking `member` of each of its members, which must pass the value. A key whose escapes spell no text is
/// asked about as the empty one. Tells whether any member stays.
pub(crate) fn members(
    cursor: &mut Cursor<'_>,
    cuts: &mut Cuts,
    mut member: impl FnMut(&mut Cursor<'_>, &str, &mut Cuts) -> Result<Keep, Flaw>,
) -> Result<bool, Flaw> {
    let (mut kept, mut behind) = (false, 0);
    // Where the first member stands, while all so far are dropped.
    let mut leading = None;
    cursor.members(|cursor, key| {
        let start = key.span.start;
        let before = cuts.0.len();
        let name = cursor.decode(key).unwrap_or_default();
        let keep = member(cursor, &name, cuts)?;
        match keep {
            Keep::Yes => {
                if let Some(first) = leading.take() {
                    cuts.0.push(first..start);
                }
                kept = true;
            }
            Keep::No => {
                cuts.0.truncate(before);
                if kept {
                    cuts.0.push(behind..cursor.at());
                } else {
                    leading.get_or_insert(start);
                }
            }
        }
        behind = cursor.at();
        Ok::<(), Flaw>(())
    })?;
    if let Some(first) = leading {
        cuts.0.push(first..behind);
    }
    Ok(kept)
}

/// `body` with `front` put in at `at` and the cuts left out.
fn slices(body: &Bytes, at: usize, front: Vec<u8>, cuts: Cuts) -> Vec<Bytes> {
    let mut cuts = cuts.0;
    if cuts.is_empty() && front.is_empty() {
        return vec![body.clone()];
    }
    cuts.sort_unstable_by_key(|cut| cut.start);
    let mut slices = vec![body.slice(..at), Bytes::from(front)];
    let mut from = at;
    for cut in cuts {
        slices.push(body.slice(from..cut.start));
        from = cut.end;
    }
    slices.push(body.slice(from..));
    slices.retain(|slice| !slice.is_empty());
    slices
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::{Edit, Keep, cut, members};
    use crate::fault::FaultKind;

    fn apply(edit: &Edit<'_>, body: &str) -> String {
        String::from_utf8(edit.apply(&Bytes::copy_from_slice(body.as_bytes())).unwrap().concat()).unwrap()
    }

    #[test]
    fn members_are_removed_and_set_and_the_rest_stays_as_it_was() {
        let edit = Edit::default().remove("model").remove("stream").set("version", b"\"v1\"");
        for (body, expected) in [
            (r#"{"model":"x","a":1}"#, r#"{"version":"v1","a":1}"#),
            (r#"{"a":1,"model":"x"}"#, r#"{"version":"v1","a":1}"#),
            (r#"{"a": 1 , "model" : "x" , "b":[ 2 ] }"#, r#"{"version":"v1","a": 1 , "b":[ 2 ] }"#),
            (r#" { "model":"x", "stream":true } "#, r#" {"version":"v1"  } "#),
            (
                r#"{"stream":true,"a":1e2,"model":"x","b":"\u00e9"}"#,
                r#"{"version":"v1","a":1e2,"b":"\u00e9"}"#,
            ),
            (
                r#"{"a":{"model":"kept"},"version":{"old":[]},"b":2}"#,
                r#"{"version":"v1","a":{"model":"kept"},"b":2}"#,
            ),
            (r#"{"mod\u0065l":"x","a":1,"model":2}"#, r#"{"version":"v1","a":1}"#),
            ("{}", r#"{"version":"v1"}"#),
        ] {
            assert_eq!(apply(&edit, body), expected, "{body}");
        }
    }

    #[test]
    fn nothing_to_do_shares_the_body() {
        let body = Bytes::from_static(br#"{"a":1}"#);
        let edited = Edit::default().remove("b").apply(&body).unwrap();
        assert_eq!((edited.len(), edited[0].as_ptr()), (1, body.as_ptr()));
    }

    #[test]
    fn slices_share_the_body() {
        let body = Bytes::from_static(br#"{"a":1,"model":"x","b":2}"#);
        let edited = Edit::default().remove("model").apply(&body).unwrap();
        assert_eq!(edited[0].as_ptr(), body.as_ptr());
        assert_eq!(edited.last().unwrap().as_ptr_range().end, body.as_ptr_range().end);
    }

    #[test]
    fn members_further_down_are_dropped_where_the_dialect_says_so() {
        let body = Bytes::from_static(
            br#"{"model":"x","t":{"a":null,"b":null,"c":{"a":null}},"u":{"a":null},"d":0}"#,
        );
        let edited = cut(&body, |cursor, key, cuts| {
            if key != "t" && key != "u" {
                cursor.value()?;
                return Ok(if key == "model" { Keep::No } else { Keep::Yes });
            }
            let kept = members(cursor, cuts, |cursor, key, _| {
                let null = cursor.peek() == Some(b'n');
                cursor.value()?;
                Ok(if null && key == "a" { Keep::No } else { Keep::Yes })
            })?;
            Ok(if kept { Keep::Yes } else { Keep::No })
        });
        let edited = edited.unwrap().with(std::iter::empty());
        assert_eq!(edited.concat(), br#"{"t":{"b":null,"c":{"a":null}},"d":0}"#);
    }

    #[test]
    fn what_is_no_object_is_a_fault() {
        for body in ["", "[]", "{\"a\":1", "{} {}", "null", "{\"a\":1,}"] {
            let fault = Edit::default().set("a", b"1").apply(&Bytes::from(body)).unwrap_err();
            assert_eq!(fault.kind, FaultKind::Inexpressible, "{body}");
        }
    }

    proptest! {
        #[test]
        fn an_edited_body_reads_as_an_edited_tree(
            keys in proptest::collection::btree_set(prop::sample::select(vec!["a", "b", "model", "stream", "é", "version"]), 0..6),
            spaced: bool,
            front: bool,
        ) {
            let tree: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), json!({"model": [key, null]}))).collect();
            let text = if spaced { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) }.unwrap();
            let mut edit = Edit::default().remove("model").remove("stream");
            if front {
                edit = edit.set("version", b"[1]").set("beta", b"[]");
            }
            let mut expected = tree;
            expected.remove("model");
            expected.remove("stream");
            if front {
                expected.insert("version".to_owned(), json!([1]));
                expected.insert("beta".to_owned(), json!([]));
            }
            let edited: Map<String, Value> = serde_json::from_str(&apply(&edit, &text)).unwrap();
            prop_assert_eq!(edited, expected);
        }
    }
}
