//! The shapes of what the admin API takes, as JSON Schema: those of the files, so that both have the same options.

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, schema::Schema};
use utoipa::{PartialSchema as _, ToSchema};

use super::overlay::Kind;
use super::raw;

/// Options that belong to files: lists with resources of their own, paths on this machine, digests.
const OF_FILES: [&str; 6] = ["keys", "limit_groups", "ca_file", "key_sha256", "token_sha256", "position"];
/// As `findings::name` has it.
const NAME: &str = "^[A-Za-z0-9._:@-]{1,64}$";

/// The schemas that the resources' own refer to, by name.
#[must_use]
pub fn components() -> Map<String, Value> {
    let mut all: Vec<(String, RefOr<Schema>)> = Vec::new();
    raw::Backend::schemas(&mut all);
    raw::LimitGroup::schemas(&mut all);
    raw::Key::schemas(&mut all);
    raw::Route::schemas(&mut all);
    raw::Tenant::schemas(&mut all);
    raw::AdminToken::schemas(&mut all);
    let wanted = all.into_iter().filter(|(name, _)| !matches!(name.as_str(), "Key" | "LimitGroup"));
    wanted.map(|(name, schema)| (name, bare(serde_json::to_value(schema).unwrap_or_default()))).collect()
}

/// What one kind takes at creation; `for_patch` without its identity, every option also null.
#[must_use]
pub fn of(kind: Kind, for_patch: bool) -> Value {
    let schema = match kind {
        Kind::Backend => serde_json::to_value(raw::Backend::schema()),
        Kind::Group => serde_json::to_value(raw::LimitGroup::schema()),
        Kind::Key => serde_json::to_value(raw::Key::schema()),
        Kind::Route => serde_json::to_value(raw::Route::schema()),
        Kind::Tenant => serde_json::to_value(raw::Tenant::schema()),
        Kind::Token => serde_json::to_value(raw::AdminToken::schema()),
    };
    let mut schema = plain(schema.unwrap_or_default());
    let mut properties = match schema["properties"].take() {
        Value::Object(properties) => properties,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    properties.retain(|name, _| !OF_FILES.contains(&name.as_str()));
    for (name, property) in extra(kind) {
        properties.insert(name.to_owned(), property);
    }
    let required: &[&str] = match kind {
        Kind::Backend => &["name", "provider"],
        Kind::Group | Kind::Key => &["name", "backend"],
        Kind::Route => &["model", "targets"],
        Kind::Tenant | Kind::Token => &["name"],
    };
    if for_patch {
        for name in ["name", "backend", "provider"] {
            properties.remove(name);
        }
        properties.values_mut().for_each(or_null);
        if kind == Kind::Tenant {
            properties.remove("key");
        } else if kind == Kind::Token {
            properties.remove("token");
        }
        return json!({ "type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1 });
    }
    let optional = properties.iter_mut().filter(|(name, _)| !required.contains(&name.as_str()));
    optional.for_each(|(_, property)| or_null(property));
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// Null is as good as not there.
fn or_null(property: &mut Value) {
    *property = json!({ "anyOf": [{ "type": "null" }, property.take()] });
}

/// What the admin API takes besides, or more narrowly.
fn extra(kind: Kind) -> Vec<(&'static str, Value)> {
    let name = json!({ "type": "string", "pattern": NAME });
    let line = json!({ "type": "string", "minLength": 1, "maxLength": 16384, "writeOnly": true });
    let share = json!({ "type": "number", "exclusiveMinimum": 0 });
    match kind {
        Kind::Backend => {
            let value = json!({ "type": ["string", "null"], "maxLength": 16384 });
            let headers = json!({ "type": "object", "additionalProperties": value, "writeOnly": true });
            vec![("name", name), ("headers", headers)]
        }
        Kind::Group => vec![("name", name.clone()), ("backend", name)],
        Kind::Key => {
            let mut all = vec![
                ("name", name.clone()),
                ("backend", name.clone()),
                ("limit_group", name.clone()),
                ("group", name),
                ("weight", share),
                ("enabled", json!({ "type": "boolean" })),
                ("service_account", json!({ "type": ["string", "object"], "writeOnly": true })),
            ];
            let secrets = ["secret", "bearer_token", "access_key_id", "secret_access_key", "session_token"];
            all.extend(secrets.map(|field| (field, line.clone())));
            all
        }
        Kind::Route => vec![(
            "position",
            json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": 1_000_000 }),
        )],
        Kind::Tenant => vec![("name", name), ("key", line), ("weight", share)],
        Kind::Token => vec![("name", name), ("token", line)],
    }
}

/// Without "or null" at options: what is not wanted is left out.
fn plain(mut schema: Value) -> Value {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut() {
            if let Some(Value::Array(kinds)) = property.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [one] = kinds.as_slice() {
                    property["type"] = one.clone();
                }
            }
            let choices = property.get("oneOf").and_then(Value::as_array);
            let real =
                choices.and_then(|choices| choices.iter().find(|choice| choice["type"] != "null")).cloned();
            if let Some(real) = real {
                *property = real;
            }
        }
    }
    bare(schema)
}

/// Without what is said of files, and with the largest number that is taken: a `format` tells of signed ones only.
fn bare(mut schema: Value) -> Value {
    ranges(&mut schema);
    if let Some(table) = schema.as_object_mut() {
        table.remove("description");
        table.remove("required");
    }
    schema
}

/// Gives whole numbers from 0 on their maximum in place of a format.
fn ranges(schema: &mut Value) {
    let most = match schema.get("format").and_then(Value::as_str) {
        Some("int64") => u64::MAX,
        Some("int32") => u32::MAX.into(),
        Some(_) | None => 0,
    };
    match schema {
        Value::Object(table) => {
            if most > 0 && table.contains_key("minimum") && !table.contains_key("maximum") {
                table.remove("format");
                table.insert("maximum".to_owned(), json!(most));
            }
            table.values_mut().for_each(ranges);
        }
        Value::Array(items) => items.iter_mut().for_each(ranges),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
