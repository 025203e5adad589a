//! Configuration: compiled-in defaults, files over them, the environment over both.
//!
//! `layers` merges them into one tree, `overlay` lays what the admin API made over it, `shape` gives it its types, `check`
//! judges every value and resolves every reference. One run reports all problems. Nothing here reads the process's environment but
//! [`Environment::of_process`], and nothing here writes.

mod check;
pub mod checked;
mod effective;
mod environment;
mod layers;
mod overlay;
mod problem;
mod raw;
mod reference;
pub mod schema;
mod shape;
#[cfg(test)]
mod tests;
mod unbuilt;
mod usual;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value as Json;

pub use check::is_special;
use checked::Settings;
pub use environment::Environment;
pub use layers::DEFAULTS;
pub use overlay::{Kind, Laid, LeftOut, Overlay};
pub use problem::{ConfigError, Problem};

/// What the files and the environment say, before anything is laid over it.
#[derive(Clone)]
pub struct Base {
    files: Vec<PathBuf>,
    merged: layers::Merged,
    warnings: Vec<String>,
}

impl Base {
    /// Whether a layer says of the backends and of the keys of each that this is all: `backends: []` is meant, a file that
    /// ends before its keys is not.
    #[must_use]
    pub fn is_plain_about_keys(&self) -> bool {
        let all_say = |backends: &Vec<Json>| backends.iter().all(|backend| backend.get("keys").is_some());
        self.merged.mentioned.contains("backends")
            && self.merged.tree.get("backends").and_then(Json::as_array).is_some_and(all_say)
    }
}

/// A valid configuration, and what of the overlay is not in it.
pub struct Composed {
    /// The settings.
    pub settings: Settings,
    /// What was left out, and why.
    pub left_out: Vec<LeftOut>,
    examined: raw::Raw,
    references: Vec<check::Outcome>,
}

/// SQLite's word for a database that no file holds.
const IN_MEMORY: &str = "sqlite::memory:";

impl Composed {
    /// The whole configuration as one tree, references in place of secrets.
    #[must_use]
    pub fn document(&self) -> Json {
        serde_json::to_value(&self.examined).unwrap_or_default()
    }
}

/// Loads `files`, in their order, over the defaults and `env` over both; without any backends they come from the usual
/// variables in `env`.
///
/// # Errors
/// All that is wrong.
pub fn load(files: &[PathBuf], env: &Environment) -> Result<Settings, ConfigError> {
    Ok(compose(&read(files, env)?, env, &Overlay::default())?.settings)
}

/// The effective configuration as YAML, with no part of any secret, for `headgate check`.
///
/// # Errors
/// All that is wrong.
pub fn check(files: &[PathBuf], env: &Environment) -> Result<String, ConfigError> {
    let composed = compose(&read(files, env)?, env, &Overlay::default())?;
    Ok(effective::render(&composed.examined, &composed.references, &composed.settings.warnings))
}

/// Reads and merges the layers without judging a value.
///
/// # Errors
/// Files that cannot be read, names that are no option, references that only the admin API's resources may hold.
pub fn read(files: &[PathBuf], env: &Environment) -> Result<Base, ConfigError> {
    let mut merged = layers::merge(files, env).map_err(|problems| ConfigError { problems })?;
    let mut warnings = Vec::new();
    if merged.tree.get("backends").is_none() {
        let listen = merged.tree.pointer("/server/listen").and_then(Json::as_str);
        let (backends, left_out) = usual::backends(env, listen);
        for backend in &backends {
            let provider = backend["provider"].as_str().unwrap_or_default();
            merged.mentioned.insert(format!("backends[].provider={provider}"));
        }
        warnings.extend(left_out);
        merged.tree["backends"] = Json::Array(backends);
    }
    let forged = overlay::forged(&merged.tree);
    if !forged.is_empty() {
        let problem = |path| {
            Problem::new(path, format!("is a secret of the store's, expected {}", reference::EXPECTED))
        };
        let problems = forged.into_iter().map(problem).collect();
        return Err(ConfigError { problems: with_origin(problems, &merged.variables) });
    }
    Ok(Base { files: files.to_vec(), merged, warnings })
}

/// Judges `base` with `overlay` laid over it. What of the overlay does not fit is left out and told.
///
/// # Errors
/// All that is wrong with `base` alone.
pub fn compose(base: &Base, env: &Environment, overlay: &Overlay) -> Result<Composed, ConfigError> {
    let mut without = BTreeSet::new();
    let mut refused = Vec::new();
    loop {
        let tree = overlay::lay(&base.merged.tree, overlay, &without);
        let problems = match examine(base, env, &tree) {
            Ok(mut composed) => {
                composed.left_out.append(&mut refused);
                return Ok(composed);
            }
            Err(problems) => problems,
        };
        let before = without.len();
        for problem in &problems {
            if let Some((index, field)) = tree.owner(&problem.option)
                && without.insert(index)
                && let Some(laid) = overlay.resources.get(index)
            {
                refused.push(laid.left_out(field, problem.text.clone()));
            }
        }
        if without.len() > before {
            continue;
        }
        // No resource is at fault by its place: the files are, or one stands in a file's way.
        let latest = tree.places.values().copied().max();
        let alone =
            || examine(base, env, &overlay::lay(&base.merged.tree, &Overlay::default(), &BTreeSet::new()));
        let (Some(latest), Ok(_)) = (latest, alone()) else {
            return Err(ConfigError { problems: with_origin(problems, &base.merged.variables) });
        };
        without.insert(latest);
        let why = problems.first().map(ToString::to_string).unwrap_or_default();
        refused.extend(overlay.resources.get(latest).map(|laid| laid.left_out(None, why)));
    }
}

fn examine(base: &Base, env: &Environment, tree: &overlay::Tree) -> Result<Composed, Vec<Problem>> {
    let merged = &base.merged;
    let shaped = shape::shape(tree.tree.clone(), &merged.defaults, &merged.variables);
    let Some(raw) = shaped.raw else { return Err(shaped.problems) };
    let mut findings = check::Findings::new(env, shaped.problems);
    findings.stored =
        check::StoredParts { places: tree.places.keys().cloned().collect(), secrets: tree.secrets.clone() };
    let mut settings = check::settings(&raw, &base.files, &mut findings);
    if !findings.problems.is_empty() {
        return Err(findings.problems);
    }
    let mut warnings = base.warnings.clone();
    warnings.append(&mut findings.warnings);
    if settings.backends.iter().all(|backend| backend.keys.is_empty()) {
        warnings.push("backends: there are no keys, so nothing can be served".to_owned());
    }
    warnings.extend(not_built(&merged.mentioned));
    settings.warnings = warnings;
    let left_out = tree.left_out.clone();
    Ok(Composed { settings, left_out, examined: raw, references: findings.references })
}

/// Adds to each option its variable, where one set it: a user looks for it in files otherwise.
fn with_origin(mut problems: Vec<Problem>, variables: &BTreeMap<String, String>) -> Vec<Problem> {
    for problem in &mut problems {
        let set_here = |path: &str| {
            let below = path.strip_prefix(problem.option.as_str());
            below.is_some_and(|below| {
                below.is_empty()
                    || (below.starts_with(['.', '[']) && problem.text.starts_with("unknown option"))
            })
        };
        if let Some((_, variable)) = variables.iter().find(|(path, _)| set_here(path)) {
            problem.option = format!("{} (from {variable})", problem.option);
        }
    }
    problems
}

/// One sentence for each part that was configured but is not built yet.
fn not_built(mentioned: &BTreeSet<String>) -> Vec<String> {
    let used = unbuilt::PARTS.iter().filter(|(part, _)| mentioned.contains(*part));
    let mut said = BTreeSet::new();
    used.filter(|(_, text)| said.insert(*text)).map(|(part, text)| format!("{part}: {text}")).collect()
}
