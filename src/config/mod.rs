//! Configuration: compiled-in defaults, files over them, the environment over both.
//!
//! `layers` merges them into one tree, `shape` gives it its types, `check` judges every value and resolves every
//! reference. One run reports all problems. Nothing here reads the process's environment but
//! [`Environment::of_process`], and nothing here writes.

mod check;
pub mod checked;
mod effective;
mod environment;
mod layers;
mod problem;
mod raw;
mod reference;
mod shape;
#[cfg(test)]
mod tests;
mod unbuilt;
mod usual;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value as Json;

use checked::Settings;
pub use environment::Environment;
pub use layers::DEFAULTS;
pub use problem::{ConfigError, Problem};

/// Loads `files`, in their order, over the defaults and `env` over both; without any backends they come from the usual
/// variables in `env`.
pub fn load(files: &[PathBuf], env: &Environment) -> Result<Settings, ConfigError> {
    examine(files, env).map(|examined| examined.settings)
}

/// The effective configuration as YAML, with no part of any secret, for `headgate check`.
pub fn check(files: &[PathBuf], env: &Environment) -> Result<String, ConfigError> {
    let examined = examine(files, env)?;
    Ok(effective::render(&examined.raw, &examined.references, &examined.settings.warnings))
}

struct Examined {
    settings: Settings,
    raw: raw::Raw,
    references: Vec<check::Outcome>,
}

fn examine(files: &[PathBuf], env: &Environment) -> Result<Examined, ConfigError> {
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
    let shaped = shape::shape(merged.tree, &merged.defaults, &merged.variables);
    let refused = |problems| Err(ConfigError { problems: with_origin(problems, &merged.variables) });
    let Some(raw) = shaped.raw else { return refused(shaped.problems) };
    let mut findings = check::Findings::new(env, shaped.problems);
    let mut settings = check::settings(&raw, files, &mut findings);
    if !findings.problems.is_empty() {
        return refused(findings.problems);
    }
    warnings.append(&mut findings.warnings);
    if settings.backends.iter().all(|backend| backend.keys.is_empty()) {
        warnings.push("backends: there are no keys, so nothing can be served".to_owned());
    }
    warnings.extend(not_built(&merged.mentioned));
    settings.warnings = warnings;
    Ok(Examined { settings, raw, references: findings.references })
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
