//! Answers as text for people: tables, and one object as lines.

use std::io::IsTerminal as _;

use comfy_table::{ContentArrangement, Table, presets};
use headgate::operate::printable::printable;
use headgate::operate::span;
use serde_json::Value;

/// Narrower terminals, and those that do not know their width (some report 0), get a table as wide as it is: letters below each
/// other are harder to read than broken lines.
const NARROWEST: u16 = 60;

/// A column: its heading, and a cell's text.
pub type Column = (&'static str, fn(&Value) -> String);

/// A table of `items`. In a pipe nothing but words and spaces, as wide as it is; on a terminal as wide as that.
pub fn table(columns: &[Column], items: &[Value]) -> String {
    let rows = items.iter().map(|item| columns.iter().map(|(_, cell)| cell(item)).collect());
    lines(&columns.iter().map(|(heading, _)| *heading).collect::<Vec<_>>(), rows.collect())
}

/// A table of texts.
pub fn lines(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings.to_vec());
    if std::io::stdout().is_terminal()
        && let Ok((width @ NARROWEST.., _)) = crossterm::terminal::size()
    {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.add_rows(rows);
    table.trim_fmt()
}

/// One object: a line for each field, what is inside of it indented by its name.
pub fn object(value: &Value) -> String {
    let mut fields = Vec::new();
    flatten("", value, &mut fields);
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> = fields.iter().map(|(name, text)| format!("{name:width$}  {text}")).collect();
    lines.join("\n")
}

fn flatten(path: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            // Who it is comes first.
            let (first, rest): (Vec<_>, Vec<_>) =
                map.iter().partition(|(name, _)| matches!(name.as_str(), "id" | "name"));
            for (name, inner) in first.into_iter().chain(rest) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, inner, fields);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (at, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{at}]"), item, fields);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            fields.push((printable(path), scalar(value)));
        }
    }
}

/// A value in one cell.
pub fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => printable(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(", "),
        Value::Number(number) => {
            let text = number.to_string();
            text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
        }
        Value::Bool(_) | Value::Object(_) => printable(&value.to_string()),
    }
}

/// The field of that name or path (`/limits/rpm`).
pub fn field(item: &Value, name: &str) -> String {
    let found = if name.starts_with('/') { item.pointer(name) } else { item.get(name) };
    scalar(found.unwrap_or(&Value::Null))
}

/// Where a resource comes from, and whether it is out of force: `show` says why.
pub fn source(item: &Value) -> String {
    let source = field(item, "source");
    if item.get("problem").is_some_and(|problem| !problem.is_null()) {
        format!("{source}, not in force")
    } else {
        source
    }
}

/// What remains of a time in milliseconds; a dash where nothing does.
pub fn remaining(item: &Value, name: &str) -> String {
    item.get(name)
        .and_then(Value::as_u64)
        .filter(|millis| *millis > 0)
        .map_or_else(|| "-".to_owned(), span::short)
}

/// The parks of a key or group in a few words, and for which models others are asked before a key.
pub fn parks(item: &Value) -> String {
    let listed = |name| item.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let last = listed("asked_last").iter().map(|model| {
        format!("asked last for {} ({})", field(model, "model"), remaining(model, "remaining_ms"))
    });
    let said = listed("parks").iter().map(|park| {
        let class = park.get("class").and_then(Value::as_str).map(|class| format!(" {}", printable(class)));
        format!(
            "{}{} ({})",
            field(park, "reason"),
            class.unwrap_or_default(),
            remaining(park, "remaining_ms")
        )
    });
    let said: Vec<String> = said.chain(last).collect();
    if said.is_empty() { "-".to_owned() } else { said.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_words_and_spaces() {
        let columns: [Column; 2] =
            [("NAME", |item| field(item, "name")), ("LEFT", |item| remaining(item, "left"))];
        let text = table(
            &columns,
            &[json!({ "name": "a\u{1b}[2J", "left": 90_000 }), json!({ "name": "long-name" })],
        );
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["NAME        LEFT", "a\\u{1b}[2J  1m30s", "long-name   -"]);
    }

    #[test]
    fn an_object_is_a_line_for_each_field() {
        let text = object(
            &json!({ "backend": "b", "name": "k", "secret": { "last4": "abcd" }, "parks": [{ "reason": "rate" }], "models": ["a", "b"] }),
        );
        assert_eq!(
            text,
            "name             k\nbackend          b\nmodels           a, b\nparks[0].reason  rate\nsecret.last4     abcd"
        );
    }

    #[test]
    fn a_resource_that_is_not_in_force_says_so() {
        assert_eq!(source(&json!({ "source": "store", "problem": "no backend" })), "store, not in force");
        assert_eq!(source(&json!({ "source": "file", "problem": null })), "file");
    }

    #[test]
    fn whole_numbers_have_no_point() {
        assert_eq!(
            [json!(2.0), json!(2.5), json!(10), json!(0.0)].each_ref().map(scalar),
            ["2", "2.5", "10", "0"]
        );
    }

    #[test]
    fn parks_are_told_in_a_few_words() {
        let key = json!({ "parks": [{ "reason": "rate_limit", "class": "sonnet", "remaining_ms": 5000 }, { "reason": "operator", "class": null, "remaining_ms": 0 }] });
        assert_eq!(parks(&key), "rate_limit sonnet (5s), operator (-)");
        let failing = json!({ "parks": [], "asked_last": [{ "model": "sonnet", "remaining_ms": 8000 }] });
        assert_eq!(parks(&failing), "asked last for sonnet (8s)");
        assert_eq!(parks(&json!({})), "-");
    }
}
