//! What one request uses of the Messages API, read in one walk over its bytes.
//!
//! No tree is built: only names are kept, each once with the place where it stood first. What is the caller's own (tools' inputs
//! and schemas, texts) is passed over. A body of hostile variety costs no more than its first [`MOST_NAMES`] names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::json::{Cursor, Flaw, Text};
use crate::request::MessagesRequest;

/// Most distinct names of a kind; honest requests have dozens.
const MOST_NAMES: usize = 1024;
/// Content lies in messages, in results within them, in documents within those; nothing real goes deeper.
const DEEPEST: usize = 4;
/// Tokens of one image: that of the largest that is not scaled down (Messages API, "Vision").
const IMAGE_TOKENS: u64 = 1_600;
/// Bytes of a document, decoded, that come to one token: a page of some 50 kB is about 2,000 tokens ("PDF support").
const DOCUMENT_BYTES_PER_TOKEN: u64 = 25;
/// Bytes of everything else that come to one token, the JSON around it included.
const BYTES_PER_TOKEN: u64 = 4;

/// What a request uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Top-level fields but `model` and `stream`, and whether each is `null`.
    pub(super) fields: BTreeMap<String, bool>,
    /// `FIELD.MEMBER` of top-level objects and of lists of objects that are no content.
    pub(super) members: BTreeSet<String>,
    /// Types of tools and where the first of each stands.
    pub(super) tools: BTreeMap<String, String>,
    /// Types of content blocks, likewise.
    pub(super) blocks: BTreeMap<String, String>,
    /// Types of sources, likewise.
    pub(super) sources: BTreeMap<String, String>,
    /// Beta flags, of the headers and of the body.
    pub(super) betas: BTreeSet<String>,
    /// Bytes of the body.
    bytes: u64,
    /// Bytes of it that are encoded images and documents.
    encoded: u64,
    /// Images.
    images: u64,
    /// Bytes of encoded documents.
    documents: u64,
}

impl Features {
    /// Reads a request whose body was found to be one JSON object.
    #[must_use]
    pub fn of(request: &MessagesRequest) -> Self {
        let mut walk = Walk::default();
        let lines = request.headers.iter().filter(|(name, _)| *name == "anthropic-beta");
        for line in lines.filter_map(|(_, value)| std::str::from_utf8(value).ok()) {
            walk.flags(line);
        }
        walk.features.bytes = request.body.len() as u64;
        // The body was checked on arrival; of one that was not, what stands before its flaw counts.
        let _ = walk.body(&request.body);
        walk.features
    }

    /// About how many input tokens the request is: for a caller who wants a number where no backend can count. A quarter of its
    /// bytes, encoded media aside; 1,600 for each image; a 25th of a document's decoded bytes.
    #[must_use]
    pub fn estimated_tokens(&self) -> u64 {
        let text = self.bytes.saturating_sub(self.encoded).div_ceil(BYTES_PER_TOKEN);
        let documents = (self.documents / 4 * 3).div_ceil(DOCUMENT_BYTES_PER_TOKEN);
        text + self.images * IMAGE_TOKENS + documents
    }
}

/// A walk under way.
#[derive(Default)]
struct Walk {
    features: Features,
    /// Where it stands, as the Messages API writes places: `messages.0.content.1`.
    place: String,
}

impl Walk {
    fn body(&mut self, body: &[u8]) -> Result<(), Flaw> {
        Cursor::new(body, usize::MAX)?.members(|cursor, key| {
            let name = cursor.decode(key).unwrap_or_default().into_owned();
            if matches!(name.as_str(), "model" | "stream") {
                return cursor.value().map(|_| ());
            }
            let null = cursor.peek() == Some(b'n');
            let fields = &mut self.features.fields;
            if fields.len() < MOST_NAMES {
                fields.entry(name.clone()).and_modify(|both| *both &= null).or_insert(null);
            }
            match name.as_str() {
                "messages" => self.messages(cursor),
                "tools" => self.each(cursor, "tools", Self::tool),
                "system" => self.each(cursor, "system", |walk, cursor| walk.block(cursor, DEEPEST)),
                "anthropic_beta" => self.body_flags(cursor),
                _ => self.setting(cursor, &name),
            }
        })
    }

    /// A field that is no content: the names one level down.
    fn setting(&mut self, cursor: &mut Cursor<'_>, name: &str) -> Result<(), Flaw> {
        match cursor.peek() {
            Some(b'{') => cursor.members(|cursor, key| self.member(cursor, name, key)),
            Some(b'[') => cursor.elements(|cursor| match cursor.peek() {
                Some(b'{') => cursor.members(|cursor, key| self.member(cursor, name, key)),
                _ => cursor.value().map(|_| ()),
            }),
            _ => cursor.value().map(|_| ()),
        }
    }

    /// A member of a setting; its own value is passed over.
    fn member(&mut self, cursor: &mut Cursor<'_>, of: &str, key: &Text) -> Result<(), Flaw> {
        if self.features.members.len() < MOST_NAMES && cursor.peek() != Some(b'n') {
            let key = cursor.decode(key).unwrap_or_default();
            self.features.members.insert(format!("{of}.{key}"));
        }
        cursor.value().map(|_| ())
    }

    fn tool(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Flaw> {
        let mut kind = None;
        cursor.members(|cursor, key| {
            if &*cursor.name(key) == b"type" && cursor.peek() == Some(b'"') {
                kind = text(cursor)?;
                return Ok(());
            }
            self.member(cursor, "tools", key)
        })?;
        let kind = kind.unwrap_or_else(|| "custom".to_owned());
        note(&mut self.features.tools, kind, &self.place);
        Ok(())
    }

    fn messages(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Flaw> {
        self.each(cursor, "messages", |walk, cursor| {
            cursor.members(|cursor, key| match &*cursor.name(key) {
                b"content" => walk.each(cursor, "content", |walk, cursor| walk.block(cursor, DEEPEST)),
                _ => cursor.value().map(|_| ()),
            })
        })
    }

    /// The objects of the list `name`, each at its place; whatever else is there is passed.
    fn each(
        &mut self,
        cursor: &mut Cursor<'_>,
        name: &str,
        read: impl Fn(&mut Self, &mut Cursor<'_>) -> Result<(), Flaw>,
    ) -> Result<(), Flaw> {
        if cursor.peek() != Some(b'[') {
            return cursor.value().map(|_| ());
        }
        let outside = self.place.len();
        if outside > 0 {
            self.place.push('.');
        }
        self.place.push_str(name);
        let list = self.place.len();
        let mut index = 0_usize;
        cursor.elements(|cursor| {
            // Writing to memory has no way to fail.
            write!(self.place, ".{index}").unwrap_or_default();
            index += 1;
            let read = match cursor.peek() {
                Some(b'{') => read(self, cursor),
                _ => cursor.value().map(|_| ()),
            };
            self.place.truncate(list);
            read
        })?;
        self.place.truncate(outside);
        Ok(())
    }

    /// A content block, with those inside of it down to `deeper` levels.
    fn block(&mut self, cursor: &mut Cursor<'_>, deeper: usize) -> Result<(), Flaw> {
        let (mut kind, mut encoded) = (None, 0);
        cursor.members(|cursor, key| {
            match (&*cursor.name(key), cursor.peek(), deeper.checked_sub(1)) {
                (b"type", Some(b'"'), _) => kind = text(cursor)?,
                (b"source", Some(b'{'), Some(deeper)) => encoded = self.source(cursor, deeper)?,
                (b"content", Some(b'['), Some(deeper)) => {
                    self.each(cursor, "content", move |walk, cursor| walk.block(cursor, deeper))?;
                }
                _ => {
                    cursor.value()?;
                }
            }
            Ok::<(), Flaw>(())
        })?;
        self.features.encoded += encoded;
        match kind.as_deref() {
            Some("image") => self.features.images += 1,
            Some("document") => self.features.documents += encoded,
            Some(_) | None => {}
        }
        if let Some(kind) = kind {
            note(&mut self.features.blocks, kind, &self.place);
        }
        Ok(())
    }

    /// Where a block's content comes from; the bytes of it that are encoded here.
    fn source(&mut self, cursor: &mut Cursor<'_>, deeper: usize) -> Result<u64, Flaw> {
        let (mut kind, mut data) = (None, 0);
        cursor.members(|cursor, key| {
            match (&*cursor.name(key), cursor.peek()) {
                (b"type", Some(b'"')) => kind = text(cursor)?,
                (b"data", Some(b'"')) => data = cursor.string()?.span.len() as u64,
                (b"content", Some(b'[')) => {
                    self.each(cursor, "source.content", move |walk, cursor| walk.block(cursor, deeper))?;
                }
                _ => {
                    cursor.value()?;
                }
            }
            Ok::<(), Flaw>(())
        })?;
        let encoded = if kind.as_deref() == Some("base64") { data } else { 0 };
        if let Some(kind) = kind {
            let place = format!("{}.source", self.place);
            note(&mut self.features.sources, kind, &place);
        }
        Ok(encoded)
    }

    /// `anthropic_beta` as clients of the clouds send it: a list of flags, or one text.
    fn body_flags(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Flaw> {
        let mut each = |cursor: &mut Cursor<'_>| match cursor.peek() {
            Some(b'"') => {
                let line = text(cursor)?.unwrap_or_default();
                self.flags(&line);
                Ok(())
            }
            _ => cursor.value().map(|_| ()),
        };
        if cursor.peek() == Some(b'[') { cursor.elements(each) } else { each(cursor) }
    }

    fn flags(&mut self, line: &str) {
        for flag in line.split(',').map(str::trim).filter(|flag| !flag.is_empty()) {
            if self.features.betas.len() < MOST_NAMES {
                self.features.betas.insert(flag.to_owned());
            }
        }
    }
}

fn note(names: &mut BTreeMap<String, String>, kind: String, place: &str) {
    if names.len() < MOST_NAMES && !names.contains_key(&kind) {
        names.insert(kind, place.to_owned());
    }
}

/// Passes a string and tells its text; `None` where escapes spell none.
fn text(cursor: &mut Cursor<'_>) -> Result<Option<String>, Flaw> {
    let text = cursor.string()?;
    Ok(cursor.decode(&text).map(std::borrow::Cow::into_owned))
}
