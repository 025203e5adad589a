//! What an operator sends: named fields, of a query or of a JSON body, each taken once; what nobody takes is an error.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::problem::Problem;

/// Longest text an operator may leave, characters.
const MAX_TEXT: usize = 200;
/// Page sizes.
const USUAL_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

/// Fields not yet taken.
#[derive(Clone, Debug, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of a JSON object; an empty body has none.
    pub fn of_body(body: &[u8]) -> Result<Self, Problem> {
        if body.trim_ascii().is_empty() {
            return Ok(Self(Map::new()));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Problem::bad_request("the body is not a JSON object")),
            Err(error) => Err(Problem::bad_request(format!("the body is not JSON: {error}"))),
        }
    }

    /// The parameters of a query.
    pub fn of_query(query: &str) -> Result<Self, Problem> {
        let mut fields = Map::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if fields.insert(name.to_string(), Value::String(value.into_owned())).is_some() {
                return Err(Problem::field(&name, "is given twice"));
            }
        }
        Ok(Self(fields))
    }

    /// What is left, all texts: a query by itself.
    pub fn texts(self) -> BTreeMap<String, String> {
        let texts = self.0.into_iter().map(|(name, value)| match value {
            Value::String(text) => (name, text),
            other
            @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                (name, other.to_string())
            }
        });
        texts.collect()
    }

    /// A text of one line.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text))
                if text.chars().count() <= MAX_TEXT && !text.contains(char::is_control) =>
            {
                Ok(Some(text))
            }
            Some(_) => Err(Problem::field(
                name,
                format!("expected a text of one line, at most {MAX_TEXT} characters"),
            )),
        }
    }

    /// Whatever is given under this name; null is nothing.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// A switch.
    pub fn switch(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(switch)) => Ok(Some(switch)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(_) => Err(Problem::field(name, "expected true or false")),
        }
    }

    /// A whole number.
    pub fn whole(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<i64>, Problem> {
        let number = match self.0.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_i64(),
        };
        let number = number.filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            Problem::field(name, format!("expected a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// All that is left.
    pub fn rest(self) -> Map<String, Value> {
        self.0
    }

    /// A number above 0, up to `most`.
    pub fn positive(&mut self, name: &str, most: f64) -> Result<f64, Problem> {
        let number = self.0.remove(name).and_then(|value| value.as_f64());
        number
            .filter(|number| *number > 0.0 && *number <= most)
            .ok_or_else(|| Problem::field(name, format!("expected a number above 0, up to {most}")))
    }

    /// The page that `limit` and `after` ask for.
    pub fn page(&mut self) -> Result<Page, Problem> {
        let limit = match self.text("limit")? {
            None => USUAL_PAGE,
            Some(text) => {
                text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit)).ok_or_else(|| {
                    Problem::field("limit", format!("expected a number from 1 to {LARGEST_PAGE}"))
                })?
            }
        };
        Ok(Page { limit, after: self.text("after")? })
    }

    /// No field may be left.
    pub fn done(self) -> Result<(), Problem> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Problem::field(name, "is not a field of this request")),
        }
    }
}

/// Part of a list.
pub struct Page {
    limit: usize,
    after: Option<String>,
}

impl Page {
    /// The page of `items`, in the order of their ids.
    pub fn of<T>(self, mut items: Vec<(String, T)>, show: impl Fn(&T) -> Value) -> Value {
        items.sort_by(|(a, _), (b, _)| a.cmp(b));
        let start = self.after.as_ref().map_or(0, |after| items.partition_point(|(id, _)| id <= after));
        self.from(start, &items, show)
    }

    /// The page of `items` in their own order; after an id that is not among them there is nothing.
    pub fn in_order<T>(self, items: &[(String, T)], show: impl Fn(&T) -> Value) -> Value {
        let found = self.after.as_ref().map(|after| items.iter().position(|(id, _)| id == after));
        let start = found.map_or(0, |found| found.map_or(items.len(), |at| at + 1));
        self.from(start, items, show)
    }

    fn from<T>(&self, start: usize, items: &[(String, T)], show: impl Fn(&T) -> Value) -> Value {
        let rest = &items[start..];
        let page = &rest[..self.limit.min(rest.len())];
        serde_json::json!({
            "data": page.iter().map(|(_, item)| show(item)).collect::<Vec<_>>(),
            "has_more": rest.len() > page.len(),
            "last_id": page.last().map(|(id, _)| id),
        })
    }
}

/// A path with its percent escapes decoded; one that would hide a slash, or is no text, stays as it is and so fits nothing.
pub fn decoded(path: &str) -> String {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits =
            if byte == b'%' { after.get(..2).and_then(|two| std::str::from_utf8(two).ok()) } else { None };
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) if escaped != b'/' => {
                out.push(escaped);
                rest = &after[2..];
            }
            Some(_) | None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_once_and_none_may_be_left() {
        let mut fields = Fields::of_body(br#"{"seconds": 1.5, "reason": "x", "more": 1}"#).unwrap();
        assert!((fields.positive("seconds", 10.0).unwrap() - 1.5).abs() < 1e-9);
        assert!(fields.positive("seconds", 10.0).is_err(), "taken");
        assert_eq!(fields.text("reason").unwrap().as_deref(), Some("x"));
        assert!(fields.done().is_err());
        assert!(Fields::of_body(b"  ").unwrap().done().is_ok());
        assert!(Fields::of_body(b"[]").is_err() && Fields::of_body(b"{").is_err());
        assert!(Fields::of_query("a=1&a=2").is_err());
    }

    #[test]
    fn a_list_is_paged_by_id() {
        let items = || vec![("c".to_owned(), 3), ("a".to_owned(), 1), ("b".to_owned(), 2)];
        let page =
            |query: &str| Fields::of_query(query).unwrap().page().unwrap().of(items(), |item| (*item).into());
        assert_eq!(page("limit=2"), serde_json::json!({ "data": [1, 2], "has_more": true, "last_id": "b" }));
        assert_eq!(
            page("limit=2&after=b"),
            serde_json::json!({ "data": [3], "has_more": false, "last_id": "c" })
        );
        assert_eq!(page("after=zz")["data"], serde_json::json!([]));
        assert!(Fields::of_query("limit=0").unwrap().page().is_err());
    }

    #[test]
    fn escapes_of_a_path_are_decoded_but_never_into_a_slash() {
        assert_eq!(decoded("/keys/a%3Ab%40c"), "/keys/a:b@c");
        assert_eq!(decoded("/keys/a%2Fb"), "/keys/a%2Fb");
        assert_eq!(decoded("/%ff%"), "/%ff%");
    }
}
