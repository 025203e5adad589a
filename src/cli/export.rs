//! `headgate export` and `headgate keys export`: what is configured, without secrets.

use std::process::ExitCode;

use clap::Args;
use headgate::operate::Ask;
use serde_json::{Value, json};

use super::document::{Format, yaml};
use super::resource::pass_line;
use super::session::{Done, Reach, Session, object, run, say};

/// Print everything as a configuration file, without secrets.
#[derive(Args)]
#[command(after_help = "Examples:
  headgate export > headgate.yaml          stored secrets are variables to set: env:HEADGATE_KEY_NAME_SECRET
  headgate export --format json | jq .routes")]
pub struct Export {
    #[command(flatten)]
    reach: Reach,
    /// The form of it.
    #[arg(long, value_name = "FORMAT", default_value = "yaml")]
    format: Format,
}

impl Export {
    pub fn run(self) -> ExitCode {
        run(&self.reach, async |at| whole(at, self.format).await)
    }
}

async fn whole(at: &Session, format: Format) -> Done {
    let answer = at.client.ask(&Ask::get("/export")).await?;
    match format {
        Format::Yaml if !at.json => say(&yaml(&String::from_utf8_lossy(&answer.body))?),
        Format::Yaml | Format::Json => pass_line(&answer),
    }
}

/// The keys alone, each with its backend: what an import takes once the secrets are filled in.
pub async fn keys(at: &Session, format: Format) -> Done {
    let tree = object(&at.client.ask(&Ask::get("/export")).await?.body)?;
    let list =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut keys = Vec::new();
    for backend in list(&tree, "backends") {
        for mut key in list(&backend, "keys") {
            key["backend"] = backend["name"].clone();
            keys.push(key);
        }
    }
    let keys = json!({ "keys": keys }).to_string();
    match format {
        Format::Yaml if !at.json => say(&yaml(&keys)?),
        Format::Yaml | Format::Json => say(&keys),
    }
}
