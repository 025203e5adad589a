//! `headgate backends`: providers at their places, and their circuit breakers.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::document::Fields;
use super::resource::{Removal, Resource};
use super::session::{Change, Done, Reach, Session, run};
use super::show::{field, source};

const BACKENDS: Resource = Resource {
    path: "/backends",
    noun: "backend",
    minted: None,
    columns: &[
        ("NAME", |backend| field(backend, "name")),
        ("PROVIDER", |backend| field(backend, "provider")),
        ("KEYS", |backend| field(backend, "keys")),
        ("READY", |backend| field(backend, "keys_ready")),
        ("IN-FLIGHT", |backend| field(backend, "in_flight")),
        ("BREAKERS", breakers),
        ("SOURCE", source),
    ],
};

/// Those that are not closed, else `closed`.
fn breakers(backend: &Value) -> String {
    let all = backend.get("breakers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let odd = all.iter().filter(|breaker| breaker["state"] != "closed");
    let odd: Vec<String> = odd
        .map(|breaker| match breaker["model"].as_str() {
            Some(_) => format!("{} {}", field(breaker, "model"), field(breaker, "state")),
            None => field(breaker, "state"),
        })
        .collect();
    if odd.is_empty() { "closed".to_owned() } else { odd.join(", ") }
}

/// List, add and change backends; force their circuit breakers.
#[derive(Args)]
#[command(after_help = "Examples:
  headgate backends list
  headgate backends add bedrock-us --provider bedrock --region us-east-1
  headgate backends add --file backend.yaml
  headgate backends breaker anthropic open            send it nothing; `auto` gives it back to the gateway")]
pub struct Backends {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// All backends with their breakers.
    List,
    /// One backend.
    Show { name: String },
    /// Add a backend; its keys follow with `headgate keys add`.
    Add {
        /// Its name, unless the file has one.
        #[arg(required_unless_present = "file")]
        name: Option<String>,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        change: Change,
    },
    /// Change what is named of a backend.
    Set {
        name: String,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        change: Change,
    },
    /// Remove a backend with its keys.
    Remove(Removal),
    /// Force a circuit breaker.
    Breaker {
        name: String,
        state: State,
        /// That of one upstream model, instead of the backend's connections.
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        #[command(flatten)]
        change: Change,
    },
}

/// What a breaker is told to be.
#[derive(Clone, Copy, ValueEnum)]
enum State {
    /// Nothing is sent.
    Open,
    /// Everything is sent.
    Closed,
    /// By what happens.
    Auto,
}

/// A backend's usual options; all others by file.
#[derive(Args)]
struct Settings {
    /// An object of YAML or JSON with any options of a backend; - is standard input. Flags win over it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// anthropic, bedrock, vertex or openai.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Everything before the API's own path.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Bedrock: runtime or mantle.
    #[arg(long, value_name = "NAME")]
    surface: Option<String>,
    /// Bedrock: the AWS region.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Vertex: the Google project.
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Vertex: the location.
    #[arg(long, value_name = "LOCATION")]
    location: Option<String>,
}

impl Backends {
    pub fn run(self) -> ExitCode {
        let Self { reach, verb } = self;
        run(&reach, async |at| verb.run(at).await)
    }
}

impl Verb {
    async fn run(&self, at: &Session) -> Done {
        match self {
            Self::List => BACKENDS.list(at, |_| true).await,
            Self::Show { name } => BACKENDS.show(at, name).await,
            Self::Add { name, settings, change } => {
                let mut fields = settings.fields()?;
                fields.set("name", name.as_deref());
                BACKENDS.create(at, change, &fields.into_body()).await
            }
            Self::Set { name, settings, change } => {
                BACKENDS.patch(at, change, name, &settings.fields()?.into_body()).await
            }
            Self::Remove(removal) => BACKENDS.remove(at, removal).await,
            Self::Breaker { name, state, model, change } => {
                let (word, done) = match state {
                    State::Open => ("open", "forced open"),
                    State::Closed => ("closed", "forced closed"),
                    State::Auto => ("auto", "left to itself"),
                };
                let mut body = json!({ "state": word });
                if let Some(model) = model {
                    body["model"] = model.as_str().into();
                }
                BACKENDS.act(at, change, (name, "breaker", done), Some(&body)).await
            }
        }
    }
}

impl Settings {
    fn fields(&self) -> Result<Fields, headgate::operate::Trouble> {
        let mut fields = Fields::of(self.file.as_deref())?;
        fields
            .set("provider", self.provider.as_deref())
            .set("base_url", self.base_url.as_deref())
            .set("surface", self.surface.as_deref())
            .set("region", self.region.as_deref())
            .set("project", self.project.as_deref())
            .set("location", self.location.as_deref());
        Ok(fields)
    }
}
