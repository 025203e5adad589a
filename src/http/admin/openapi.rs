//! `GET /admin/v1/openapi.json`: the OpenAPI 3.1 document, made from the table of routes and the shapes.

use serde_json::{Map, Value, json};

use super::Asked;
use super::problem::Problem;
use super::table::{Gives, Route, Takes, routes};
use super::views;
use crate::config::checked::AdminRole;
use crate::config::{Kind, schema};

/// Text without control characters.
const LINE: &str = "^[^\\x00-\\x1f\\x7f-\\x9f]*$";

/// The document.
pub fn get(asked: Asked<'_>) -> Result<Value, Problem> {
    asked.query.done()?;
    asked.body.done()?;
    Ok(document())
}

/// The whole document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in routes() {
        let path = format!("/admin/v1{}", route.path.replace("{}", "{id}"));
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[route.method.to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Headgate admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Keys, backends, groups, routes, tenants and tokens of a running gateway. Errors are problems of RFC 9457.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(),
        },
    })
}

fn schemas() -> Value {
    let mut all: Map<String, Value> = views::schemas().into_iter().collect();
    all.extend(schema::components().into_iter().filter(|(name, _)| !is_resource(name)));
    for (kind, name) in KINDS {
        all.insert(format!("{name}Create"), schema::of(kind, false));
        all.insert(format!("{name}Patch"), schema::of(kind, true));
    }
    let key = |names: &[&str]| {
        let whole = schema::of(Kind::Key, false);
        let picked = names.iter().map(|name| ((*name).to_owned(), whole["properties"][*name].clone()));
        Value::Object(picked.collect())
    };
    let credential = key(&[
        "secret",
        "bearer_token",
        "access_key_id",
        "secret_access_key",
        "session_token",
        "service_account",
        "credential_chain",
    ]);
    all.insert("Credential".to_owned(), object(&credential, &[], json!({ "minProperties": 1 })));
    let line = json!({ "type": ["string", "null"], "maxLength": 200, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$" });
    let seconds = json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 31_622_400 });
    all.insert(
        "ParkKey".to_owned(),
        object(&json!({ "seconds": seconds, "reason": line }), &["seconds"], json!({})),
    );
    let states = json!({ "type": "string", "enum": ["open", "closed", "auto"] });
    all.insert(
        "ForceBreaker".to_owned(),
        object(&json!({ "state": states, "model": line }), &["state"], json!({})),
    );
    all.insert("TestKey".to_owned(), object(&json!({ "model": line }), &[], json!({})));
    let keys = json!({ "type": "array", "minItems": 1, "maxItems": 1000, "items": { "type": "object" } });
    all.insert("Import".to_owned(), object(&json!({ "keys": keys }), &["keys"], json!({})));
    all.insert("Anything".to_owned(), json!({ "type": "object" }));
    Value::Object(all)
}

const KINDS: [(Kind, &str); 6] = [
    (Kind::Backend, "Backend"),
    (Kind::Group, "Group"),
    (Kind::Key, "Key"),
    (Kind::Route, "Route"),
    (Kind::Tenant, "Tenant"),
    (Kind::Token, "Token"),
];

/// Shapes of files whose name an answer's shape has too.
fn is_resource(name: &str) -> bool {
    KINDS.iter().any(|(_, resource)| *resource == name) || name == "AdminToken"
}

fn object(properties: &Value, required: &[&str], more: Value) -> Value {
    let mut object = json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn operation(route: &Route) -> Value {
    let role = match route.role {
        AdminRole::Viewer => "viewer",
        AdminRole::Operator => "operator",
        AdminRole::Admin => "admin",
    };
    let words = route.path.split(['/', '{', '}']).filter(|word| !word.is_empty());
    let id = words.fold(route.method.to_ascii_lowercase(), |id, word| format!("{id}_{word}"));
    let mut operation = json!({
        "operationId": if route.path.contains("{}") { format!("{id}_one") } else { id },
        "summary": route.says,
        "description": format!("Needs the role {role}."),
        "x-headgate-role": role,
        "tags": [route.path.split('/').nth(1).unwrap_or_default()],
        "parameters": parameters(route),
        "responses": responses(route),
    });
    if let Some(schema) = body(route) {
        let required = !matches!(route.takes, Takes::Nothing);
        operation["requestBody"] =
            json!({ "required": required, "content": { "application/json": { "schema": schema } } });
    }
    operation
}

fn body(route: &Route) -> Option<Value> {
    let of_kind = |what: &str| {
        let name = KINDS.iter().find(|(kind, _)| Some(*kind) == route.kind).map_or("", |(_, name)| name);
        Some(reference(&format!("{name}{what}")))
    };
    match route.takes {
        Takes::New => of_kind("Create"),
        Takes::Patch => of_kind("Patch"),
        Takes::Named(name) => Some(reference(name)),
        Takes::Nothing if route.path.ends_with("/test") => Some(reference("TestKey")),
        Takes::Nothing => None,
    }
}

fn parameters(route: &Route) -> Value {
    let query = |name: &str, schema: Value| json!({ "name": name, "in": "query", "schema": schema });
    let text = || json!({ "type": "string", "maxLength": 200, "pattern": LINE });
    let header = |name: &str| {
        let schema =
            json!({ "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]([ -~]*[!-~])?$" });
        json!({ "name": name, "in": "header", "schema": schema })
    };
    let mut all = Vec::new();
    if route.path.contains("{}") {
        let schema =
            json!({ "type": "string", "minLength": 1, "maxLength": 129, "pattern": "^[A-Za-z0-9._:@-]+$" });
        all.push(json!({ "name": "id", "in": "path", "required": true, "schema": schema }));
    }
    if let Gives::List(_) = route.gives {
        all.push(query("limit", json!({ "type": "integer", "minimum": 1, "maximum": 1000 })));
        let number = json!({ "type": "integer", "format": "int64", "minimum": 0 });
        all.push(query("after", if route.path == "/audit" { number } else { text() }));
    }
    if route.path == "/audit" {
        all.extend(["actor", "kind", "id"].map(|name| query(name, text())));
    }
    if route.path == "/events" {
        all.push(query("after", json!({ "type": "integer", "format": "int64", "minimum": 0 })));
        all.push(query("kind", text()));
    }
    if route.path.starts_with("/usage") {
        let moment = || json!({ "type": "string", "examples": ["2026-01-31", "2026-01-31T08:00:00Z"] });
        all.extend(["from", "to"].map(|name| query(name, moment())));
        all.extend(
            ["tenant", "key", "backend", "model"].map(|name| query(name, json!({ "type": "string" }))),
        );
        all.push(query("limit", json!({ "type": "integer", "minimum": 1, "maximum": 10_000 })));
        all.push(query("after", json!({ "type": "string" })));
        let sums = route.path == "/usage";
        let formats = if sums { json!(["json", "csv"]) } else { json!(["json", "csv", "jsonl"]) };
        all.push(query("format", json!({ "type": "string", "enum": formats })));
        if sums {
            all.push(query("by", json!({ "type": "string", "examples": ["tenant,model,day"] })));
        }
    }
    if route.path.starts_with("/groups/{}") && route.kind.is_none() {
        all.push(query("backend", text()));
    }
    if route.can_be_dry() {
        all.push(query("dry_run", json!({ "type": "boolean" })));
        if route.creates() {
            all.push(header("Idempotency-Key"));
        } else if route.path.contains("{}") {
            all.push(header("If-Match"));
        }
    }
    Value::Array(all)
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    let json_answer = |schema: Value, says: &str| json!({ "description": says, "content": { "application/json": { "schema": schema } } });
    let (schema, media) = match route.gives {
        Gives::One(name) => (reference(name), None),
        Gives::Other(media) => (json!({ "type": "string" }), Some(media)),
        Gives::List(name) => (
            json!({
                "type": "object",
                "properties": {
                    "data": { "type": "array", "items": reference(name) },
                    "has_more": { "type": "boolean" },
                    "last_id": { "type": ["string", "null"] },
                },
                "required": ["data", "has_more", "last_id"],
            }),
            None,
        ),
    };
    match media {
        Some(media) => {
            let content = json!({ media: { "schema": schema } });
            responses.insert("200".to_owned(), json!({ "description": "A stream.", "content": content }));
        }
        None if route.creates() => {
            responses.insert("201".to_owned(), json_answer(schema, "It was made."));
            responses
                .insert("200".to_owned(), json_answer(reference("Anything"), "What a dry run would make."));
        }
        None if route.can_be_dry() => {
            let either = json!({ "anyOf": [schema, reference("Anything")] });
            responses.insert("200".to_owned(), json_answer(either, "Done, or what a dry run would do."));
        }
        None => {
            responses.insert("200".to_owned(), json_answer(schema, "Done."));
        }
    }
    if route.path.starts_with("/usage") {
        let mut others = vec!["text/csv"];
        others.extend((route.path == "/usage/records").then_some("application/x-ndjson"));
        for media in others {
            responses["200"]["content"][media] = json!({ "schema": { "type": "string" } });
        }
    }
    for (status, says) in errors(route) {
        let content = json!({ "application/problem+json": { "schema": reference("Problem") } });
        responses.insert(status.to_owned(), json!({ "description": says, "content": content }));
    }
    Value::Object(responses)
}

/// The statuses of what may be wrong, and what they say.
fn errors(route: &Route) -> Vec<(&'static str, &'static str)> {
    let mut errors = vec![
        ("400", "The request cannot be used; `field` names what is wrong."),
        ("401", "An admin token is required."),
        ("403", "The token's role does not allow this, or the admin API is off."),
        ("413", "The body is too large."),
        ("429", "Too many failed authentications from this address."),
    ];
    if route.path.contains("{}") {
        errors.push(("404", "There is no such resource."));
    }
    if route.method != "GET" || route.path.starts_with("/groups/{}") {
        errors.push(("409", "It does not fit what is there."));
    }
    if route.method != "GET" || route.path == "/audit" || route.path.starts_with("/usage") {
        errors.push(("503", "The store is not available."));
    }
    if route.can_be_dry() && route.path.contains("{}") {
        errors.push(("412", "The resource has another revision."));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(table) => {
                for (name, value) in table {
                    if name == "$ref" {
                        found.extend(value.as_str().map(str::to_owned));
                    }
                    references(value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let mut names = std::collections::BTreeSet::new();
        for operations in document["paths"].as_object().unwrap().values() {
            for operation in operations.as_object().unwrap().values() {
                assert!(names.insert(operation["operationId"].to_string()), "{operation}");
            }
        }
        assert_eq!(names.len(), routes().count());
    }
}
