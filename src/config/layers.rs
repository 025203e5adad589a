//! The layers: compiled-in defaults, then files in their order, then `HEADGATE__...` variables.
//!
//! Tables merge option by option; a list in a later layer replaces the earlier one whole. An option left empty in a
//! file (`tls:`) counts as not written. Relative paths are made absolute here, while the file that names them is known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat, Map, Source, Value, ValueKind};
use serde_json::Value as Json;

use super::environment::Environment;
use super::problem::Problem;
use super::shape::Step;

/// The reference manual of every option, which is also the lowest layer.
pub const DEFAULTS: &str = include_str!("../../config/default.yaml");

const PREFIX: &str = "HEADGATE__";
/// Lists addressed by variables are short; a larger index is a slip of the pen.
const MAX_INDEX: usize = 999;

/// All layers as one tree, with what later steps must know of their making.
#[derive(Clone)]
pub struct Merged {
    /// The whole configuration, not yet shaped.
    pub tree: Json,
    /// The defaults alone.
    pub defaults: Json,
    /// Path of an option -> the variable that set it.
    pub variables: BTreeMap<String, String>,
    /// Paths that files or variables wrote, list positions left out (`backends[].park`), and `path=value` for
    /// texts and switches.
    pub mentioned: BTreeSet<String>,
}

/// Reads and merges everything; the problems are files that cannot be read and names that are no option.
pub fn merge(files: &[PathBuf], env: &Environment) -> Result<Merged, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut builder = Config::builder();
    let defaults = parse(DEFAULTS).map_err(|text| vec![Problem::new("config/default.yaml", text)])?;
    builder = builder.add_source(Layer(defaults.clone()));
    let mut mentioned = BTreeSet::new();
    for file in files {
        match read(file) {
            Ok(layer) => {
                mention("", &Value::new(None, ValueKind::Table(layer.clone())), &mut mentioned);
                builder = builder.add_source(Layer(layer));
            }
            Err(problem) => problems.push(problem),
        }
    }
    let mut variables = BTreeMap::new();
    for (name, rest, value) in env.with_prefix(PREFIX) {
        let Some(path) = option_path(rest) else {
            problems
                .push(Problem::new(name, "is not the name of an option, expected HEADGATE__SECTION__OPTION"));
            continue;
        };
        let text = Value::new(None, ValueKind::String(value.to_owned()));
        match builder.clone().set_override(&path, text.clone()) {
            Ok(with) => builder = with,
            Err(_) => {
                problems.push(Problem::new(
                    name,
                    "is not the name of an option, expected HEADGATE__SECTION__OPTION",
                ));
            }
        }
        mention(&without_positions(&path), &text, &mut mentioned);
        variables.insert(path, name.to_owned());
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let json = |map: Map<String, Value>| {
        Value::new(None, ValueKind::Table(map)).try_deserialize::<Json>().map_err(internal)
    };
    let tree = builder.build().and_then(Config::try_deserialize).map_err(internal)?;
    Ok(Merged { tree, defaults: json(defaults)?, variables, mentioned })
}

fn internal(_: config::ConfigError) -> Vec<Problem> {
    vec![Problem::new("configuration", "cannot be merged: a list and a table were given for one option")]
}

const NOT_A_TABLE: &str = "is not one table of options, expected lines such as `server: { workers: 2 }`";

/// Parses YAML text into its top-level options, empty ones left out. The parser's own words are passed on
/// only where they quote no value.
pub fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let map = File::from_str(text, FileFormat::Yaml).collect().map_err(|error| {
        let config::ConfigError::FileParse { cause, .. } = error else { return NOT_A_TABLE.to_owned() };
        let scan = cause.downcast_ref::<yaml_rust2::ScanError>();
        scan.map_or_else(|| NOT_A_TABLE.to_owned(), |scan| format!("is not YAML: {scan}"))
    })?;
    Ok(without_empty(map))
}

fn read(file: &Path) -> Result<Map<String, Value>, Problem> {
    let problem = |text: String| Problem::new(file.display().to_string(), text);
    let text = std::fs::read_to_string(file).map_err(|error| problem(format!("cannot be read: {error}")))?;
    // The parser would take a mark of the byte order for a part of the first option's name.
    let mut map = parse(text.strip_prefix('\u{feff}').unwrap_or(&text)).map_err(problem)?;
    let absolute =
        std::path::absolute(file).map_err(|error| problem(format!("has no absolute path: {error}")))?;
    let directory = absolute.parent().unwrap_or(Path::new("/"));
    for (name, value) in &mut map {
        anchor(name, value, directory);
    }
    Ok(map)
}

fn without_empty(map: Map<String, Value>) -> Map<String, Value> {
    map.into_iter()
        .filter(|(_, value)| value.kind != ValueKind::Nil)
        .map(|(name, mut value)| {
            clear(&mut value);
            (name, value)
        })
        .collect()
}

#[allow(clippy::wildcard_enum_match_arm, reason = "another crate's enum; only containers hold more values")]
fn clear(value: &mut Value) {
    match &mut value.kind {
        ValueKind::Table(table) => *table = without_empty(std::mem::take(table)),
        ValueKind::Array(items) => items.iter_mut().for_each(clear),
        _ => {}
    }
}

/// Makes the relative paths in `value` relative to `directory`.
#[allow(clippy::wildcard_enum_match_arm, reason = "another crate's enum; only texts and containers matter")]
fn anchor(name: &str, value: &mut Value, directory: &Path) {
    match &mut value.kind {
        ValueKind::Table(table) => table.iter_mut().for_each(|(name, value)| anchor(name, value, directory)),
        ValueKind::Array(items) => items.iter_mut().for_each(|item| anchor(name, item, directory)),
        ValueKind::String(text) => {
            if let Some(path) = text.strip_prefix("file:") {
                *text = format!("file:{}", directory.join(path).display());
            } else if name == "ca_file" {
                *text = directory.join(&*text).display().to_string();
            }
        }
        _ => {}
    }
}

/// `SERVER__LISTEN` -> `server.listen`, `BACKENDS__0__NAME` -> `backends[0].name`.
fn option_path(rest: &str) -> Option<String> {
    let mut path = String::new();
    for part in rest.to_ascii_lowercase().split("__") {
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && !path.is_empty() {
            let index = part.parse::<usize>().ok().filter(|index| *index <= MAX_INDEX)?;
            path = format!("{path}[{index}]");
        } else if part.is_empty()
            || !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        {
            return None;
        } else if path.is_empty() {
            part.clone_into(&mut path);
        } else {
            path = format!("{path}.{part}");
        }
    }
    Some(path)
}

fn without_positions(path: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for symbol in path.chars() {
        inside = symbol == '[' || (inside && symbol != ']');
        if !inside || symbol == '[' {
            out.push(symbol);
        }
    }
    out
}

/// Notes `path`, its parents and everything below it.
#[allow(clippy::wildcard_enum_match_arm, reason = "another crate's enum; only texts and containers matter")]
fn mention(path: &str, value: &Value, seen: &mut BTreeSet<String>) {
    for (end, _) in path.match_indices(['.', '[']) {
        seen.insert(path[..end].to_owned());
    }
    seen.insert(path.to_owned());
    match &value.kind {
        ValueKind::Table(table) => {
            for (name, value) in table {
                mention(&Step::Name(name.clone()).after(path), value, seen);
            }
        }
        ValueKind::Array(items) => items.iter().for_each(|item| mention(&format!("{path}[]"), item, seen)),
        ValueKind::String(text) => {
            seen.insert(format!("{path}={text}"));
        }
        ValueKind::Boolean(switch) => {
            seen.insert(format!("{path}={switch}"));
        }
        _ => {}
    }
}

/// One layer, already parsed.
#[derive(Clone)]
struct Layer(Map<String, Value>);

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Layer")
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}
