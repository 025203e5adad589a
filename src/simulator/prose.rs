//! Words, tool inputs, and the nasty places to split them at.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::dice::Dice;

const WORDS: [&str; 40] = [
    "river", "gate", "open", "slowly", "under", "the", "morning", "light", "and", "water", "runs", "over",
    "stone", "through", "a", "narrow", "channel", "where", "keepers", "watch", "levels", "rise", "fall",
    "again", "quiet", "wind", "carries", "sound", "of", "distant", "bells", "across", "green", "fields",
    "while", "boats", "wait", "for", "their", "turn",
];
const USUAL_PIECES: usize = 12;
const USUAL_BYTES: usize = 240;

/// A text of `events` pieces and `bytes` bytes in all; 0 = as usual.
pub fn pieces(dice: &mut Dice, events: usize, bytes: usize) -> Vec<String> {
    let events = match (events, bytes) {
        (0, 0) => USUAL_PIECES,
        (0, bytes) => bytes.div_ceil(24),
        (events, _) => events,
    };
    let bytes = match bytes {
        0 => events.saturating_mul(USUAL_BYTES / USUAL_PIECES),
        bytes => bytes.max(events),
    };
    let text = words(dice, bytes);
    let cut = |piece: usize| (bytes as u128 * piece as u128 / events as u128) as usize;
    (0..events).map(|piece| text[cut(piece)..cut(piece + 1)].to_owned()).collect()
}

/// Exactly `bytes` bytes of words (ASCII).
fn words(dice: &mut Dice, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.push_str(WORDS[dice.below(WORDS.len())]);
        text.push_str(if dice.below(12) == 0 { ".\n" } else { " " });
    }
    text.truncate(bytes);
    text
}

/// Pieces of text in many scripts, some of one sign only.
pub fn unicode() -> Vec<String> {
    [
        "Grüße, ",
        "мир",
        " 世界",
        "\n\n",
        " ",
        "🦀",
        "👩‍👩‍👧",
        " \"quoted\\ ",
        "\u{7f}\u{2028}",
        "مرحبا",
        " \t",
        "é\u{301}.",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The schema of a tool that was not given.
pub fn sample_schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}})
}

/// A value that fits a JSON schema (its common words).
pub fn value_for(schema: &Value, name: &str, depth: usize) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].get(0).and_then(Value::as_str));
    match kind.unwrap_or("object") {
        "string" => json!(format!("Zürich 🌦 {name}")),
        "integer" => json!(3),
        "number" => json!(1.5),
        "boolean" => json!(true),
        "null" => Value::Null,
        "array" if depth < 8 => json!([value_for(&schema["items"], name, depth + 1)]),
        _ if depth < 8 => {
            let properties = schema["properties"].as_object();
            let fields = properties.into_iter().flatten();
            fields
                .map(|(name, schema)| (name.clone(), value_for(schema, name, depth + 1)))
                .collect::<Map<_, _>>()
                .into()
        }
        _ => json!({}),
    }
}

/// JSON with every non-ASCII sign as `\uXXXX`, as the API writes tool input.
pub fn ascii_json(value: &Value) -> String {
    let mut text = String::new();
    let mut units = [0_u16; 2];
    for sign in value.to_string().chars() {
        if sign.is_ascii() {
            text.push(sign);
            continue;
        }
        for unit in sign.encode_utf16(&mut units) {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
}

/// Splits JSON text into small pieces; escapes are always cut in two, surrogate pairs between and inside their halves.
pub fn split_json(text: &str) -> Vec<String> {
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    let bytes = text.as_bytes();
    for (at, sign) in text.char_indices() {
        piece.push(sign);
        let inside_escape = sign == 'u' && at > 0 && bytes[at - 1] == b'\\';
        if inside_escape || piece.len() >= 7 {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_size_and_the_pieces_asked_for() {
        for (events, bytes) in [(1, 10), (100, 1_000_000), (7, 100), (50, 10)] {
            let pieces = pieces(&mut Dice::new(1), events, bytes);
            assert_eq!(pieces.len(), events);
            assert_eq!(pieces.concat().len(), bytes.max(events));
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
        }
        assert_eq!(pieces(&mut Dice::new(1), 0, 0).len(), USUAL_PIECES);
    }

    #[test]
    fn tool_input_is_split_inside_escapes_and_loses_nothing() {
        let input = json!({"city": "Zürich 🌦"});
        let text = ascii_json(&input);
        assert!(text.is_ascii() && text.contains("\\u00fc"), "{text}");
        let pieces = split_json(&text);
        assert!(pieces.iter().any(|piece| piece.ends_with("\\u")), "{pieces:?}");
        assert_eq!(serde_json::from_str::<Value>(&pieces.concat()).unwrap(), input);
    }
}
