//! An object from a file of YAML or JSON and from flags, as the body of a request; and JSON printed as YAML.

use std::path::Path;

use clap::ValueEnum;
use headgate::operate::Trouble;
use serde_json::{Map, Value};
use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlEmitter, YamlLoader};

use super::session::input;

/// How a document is printed.
#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    Yaml,
    Json,
}

/// The fields of a body: those of the file, then flags over them.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Begins with the object in `file`, if there is one; `-` is standard input.
    pub fn of(file: Option<&Path>) -> Result<Self, Trouble> {
        let Some(file) = file else { return Ok(Self(Map::new())) };
        let wrong = |what: String| Trouble::Local(format!("{}: {what}", file.display()));
        match read(input(file)?.expose()).map_err(wrong)? {
            Value::Object(fields) => Ok(Self(fields)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(wrong("expected one object, such as `name: ...`".to_owned()))
            }
        }
    }

    /// Sets a field where a value was given.
    pub fn set(&mut self, name: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Sets a list where it has something.
    pub fn set_list<T: Into<Value>>(&mut self, name: &str, items: Vec<T>) -> &mut Self {
        self.set(name, (!items.is_empty()).then_some(items))
    }

    /// Sets fields of the object `name`, beside those it has.
    pub fn merge(&mut self, name: &str, fields: Map<String, Value>) -> &mut Self {
        match self.0.get_mut(name).and_then(Value::as_object_mut) {
            Some(there) => there.extend(fields),
            None => return self.set(name, (!fields.is_empty()).then_some(fields)),
        }
        self
    }

    /// Adds all of `fields`.
    pub fn extend(&mut self, fields: Map<String, Value>) -> &mut Self {
        self.0.extend(fields);
        self
    }

    /// The body.
    pub fn into_body(self) -> Value {
        Value::Object(self.0)
    }
}

/// Parses YAML, of which JSON is a part.
pub fn read(text: &str) -> Result<Value, String> {
    let text = text.trim_start_matches('\u{feff}');
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let mut documents =
        YamlLoader::load_from_str(text).map_err(|error| format!("is neither YAML nor JSON: {error}"))?;
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => to_json(document),
        (None, _) => Err("is empty".to_owned()),
        (Some(_), false) => Err("holds several documents".to_owned()),
    }
}

fn to_json(yaml: Yaml) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Boolean(is) => is.into(),
        Yaml::Integer(number) => number.into(),
        Yaml::Real(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        Yaml::String(text) => text.into(),
        Yaml::Array(items) => items.into_iter().map(to_json).collect::<Result<Vec<_>, _>>()?.into(),
        Yaml::Hash(table) => Value::Object(table.into_iter().map(member).collect::<Result<_, _>>()?),
        Yaml::Alias(_) | Yaml::BadValue => return Err("holds a value that JSON has not".to_owned()),
    })
}

fn member((name, value): (Yaml, Yaml)) -> Result<(String, Value), String> {
    let name = name.into_string().ok_or("names an option by something that is no text")?;
    Ok((name, to_json(value)?))
}

/// JSON as YAML, in the order of the JSON, without what is unset.
pub fn yaml(json: &str) -> Result<String, Trouble> {
    let unread = || Trouble::Local("the answer cannot be printed as YAML; try --json".to_owned());
    let document =
        YamlLoader::load_from_str(json).ok().and_then(|all| all.into_iter().next()).ok_or_else(unread)?;
    let mut text = String::new();
    YamlEmitter::new(&mut text).dump(&without_unset(document)).map_err(|_| unread())?;
    Ok(text.trim_start_matches("---\n").to_owned())
}

#[allow(clippy::wildcard_enum_match_arm, reason = "another crate's enum; only containers hold more values")]
fn without_unset(yaml: Yaml) -> Yaml {
    match yaml {
        Yaml::Hash(table) => {
            let set = table.into_iter().filter(|(_, value)| !matches!(value, Yaml::Null));
            Yaml::Hash(set.map(|(name, value)| (name, without_unset(value))).collect::<Hash>())
        }
        Yaml::Array(items) => Yaml::Array(items.into_iter().map(without_unset).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_and_json_are_one_object() {
        let expected = json!({ "model": "claude-*", "weight": 1.5, "targets": [{ "backend": "a", "tier": 1 }], "on": true, "none": null });
        let yaml =
            "model: 'claude-*'\nweight: 1.5\ntargets:\n  - { backend: a, tier: 1 }\non: true\nnone: ~\n";
        assert_eq!(read(yaml), Ok(expected.clone()));
        assert_eq!(read(&format!("\u{feff}{expected}")), Ok(expected));
        for wrong in ["", "a: [", "a: 1\n---\nb: 2\n", "1: 2"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn json_is_printed_as_yaml_in_its_order() {
        let text =
            yaml(r#"{"name":"b","keys":[{"name":"a","weight":1,"group":null}],"a":"claude-*"}"#).unwrap();
        assert_eq!(text, "name: b\nkeys:\n  - name: a\n    weight: 1\na: claude-*");
    }
}
