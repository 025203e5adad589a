//! `headgate routes`: from a client's model name to the backends that serve it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use headgate::operate::Trouble;
use headgate::operate::target::target;
use serde_json::Value;

use super::document::Fields;
use super::resource::{Removal, Resource};
use super::session::{Change, Done, Reach, Session, run};
use super::show::{field, source};

const ROUTES: Resource = Resource {
    path: "/routes",
    noun: "route",
    minted: None,
    columns: &[
        ("ID", |route| field(route, "id")),
        ("MODEL", |route| field(route, "model")),
        ("TARGETS", targets),
        ("FALLBACKS", |route| field(route, "fallback_models")),
        ("SOURCE", source),
    ],
};

/// The targets as they are written on the command line.
fn targets(route: &Value) -> String {
    let all = route.get("targets").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let written = all.iter().map(|target| {
        let part = |name: &str, sign: char| match target.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(_) => format!("{sign}{}", field(target, name)),
        };
        format!("{}{}{}", field(target, "backend"), part("model", '='), part("tier", '@'))
    });
    let written: Vec<String> = written.collect();
    if written.is_empty() { "-".to_owned() } else { written.join(", ") }
}

/// List, add and change routes.
#[derive(Args)]
#[command(
    after_help = "A target is BACKEND[=MODEL][@TIER]; without tiers each target is the fallback of the one before. While there is no
route, every model goes to every backend; from the first one on, a model that no route names is not found.

Examples:
  headgate routes add --model 'claude-sonnet-*' --target anthropic --target 'bedrock-us=us.anthropic.{model}-v1:0'
  headgate routes add --model 'claude-haiku-*' --target anthropic@1 --target vertex-eu@1 --target bedrock-us@2
  headgate routes set route_k3x9 --fallback-model claude-haiku-4-5"
)]
pub struct Routes {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// All routes; the first that fits a model counts.
    List,
    /// One route.
    Show { id: String },
    /// Add a route, before those of files.
    Add {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        change: Change,
    },
    /// Change what is named of a route; targets as a whole.
    Set {
        id: String,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        change: Change,
    },
    /// Remove a route.
    Remove(Removal),
}

#[derive(Args)]
struct Settings {
    /// An object of YAML or JSON with any options of a route; - is standard input. Flags win over it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The client's model name; * stands for anything.
    #[arg(long, value_name = "PATTERN")]
    model: Option<String>,
    /// Who serves it, in order. May be repeated.
    #[arg(long = "target", value_name = "BACKEND[=MODEL][@TIER]", value_parser = target)]
    targets: Vec<Value>,
    /// Models to fall back to. May be repeated.
    #[arg(long = "fallback-model", value_name = "MODEL")]
    fallback_models: Vec<String>,
    /// Go to the next tier when this one kept a call waiting so long.
    #[arg(long, value_name = "MS")]
    spill_after_ms: Option<u64>,
}

impl Routes {
    pub fn run(self) -> ExitCode {
        let Self { reach, verb } = self;
        run(&reach, async |at| verb.run(at).await)
    }
}

impl Verb {
    async fn run(&self, at: &Session) -> Done {
        match self {
            Self::List => ROUTES.list(at, |_| true).await,
            Self::Show { id } => ROUTES.show(at, id).await,
            Self::Add { settings, change } => {
                if settings.file.is_none() && (settings.model.is_none() || settings.targets.is_empty()) {
                    return Err(Trouble::Arguments(
                        "a route needs --model and a --target, or --file".to_owned(),
                    ));
                }
                ROUTES.create(at, change, &settings.fields()?.into_body()).await
            }
            Self::Set { id, settings, change } => {
                ROUTES.patch(at, change, id, &settings.fields()?.into_body()).await
            }
            Self::Remove(removal) => ROUTES.remove(at, removal).await,
        }
    }
}

impl Settings {
    fn fields(&self) -> Result<Fields, Trouble> {
        let mut fields = Fields::of(self.file.as_deref())?;
        fields
            .set("model", self.model.as_deref())
            .set_list("targets", self.targets.clone())
            .set_list("fallback_models", self.fallback_models.clone())
            .set("spill_after_ms", self.spill_after_ms);
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_shown_as_they_are_written() {
        let written = ["anthropic@1", "bedrock-us=us.anthropic.{model}-v1:0", "vertex=m@20250929@2"];
        let route = serde_json::json!({ "targets": written.map(|text| target(text).unwrap()) });
        assert_eq!(targets(&route), written.join(", "));
    }
}
