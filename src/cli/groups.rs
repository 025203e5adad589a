//! `headgate groups`: keys that share one upstream quota.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use headgate::operate::Trouble;
use headgate::operate::target::limit;
use serde_json::Value;

use super::document::Fields;
use super::resource::{Removal, Resource};
use super::session::{Change, Done, Reach, Session, run};
use super::show::{field, parks, source};

const GROUPS: Resource = Resource {
    path: "/groups",
    noun: "group",
    minted: None,
    columns: &[
        ("ID", |group| field(group, "id")),
        ("KEYS", |group| field(group, "keys")),
        ("PARKS", parks),
        ("SOURCE", source),
    ],
};

/// List, add and change limit groups; lift their parks.
#[derive(Args)]
#[command(after_help = "A group's id is BACKEND:NAME; the name alone does where only one backend has it.

Examples:
  headgate groups add org-c --backend anthropic --limit 'claude-sonnet-*:rpm=4000,input_tpm=2000000' --usd-per-month 1000
  headgate groups unpark anthropic:org-a")]
pub struct Groups {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// All groups with their parks.
    List,
    /// One group.
    Show { id: String },
    /// Add a group to a backend.
    Add {
        /// Its name, unless the file has one.
        #[arg(required_unless_present = "file")]
        name: Option<String>,
        /// The backend it belongs to.
        #[arg(long, value_name = "NAME", required_unless_present = "file")]
        backend: Option<String>,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        change: Change,
    },
    /// Change what is named of a group; limits as a whole.
    Set {
        id: String,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        change: Change,
    },
    /// Remove a group.
    Remove(Removal),
    /// Lift every park that its keys share.
    Unpark {
        id: String,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Args)]
struct Settings {
    /// An object of YAML or JSON with any options of a group; - is standard input. Flags win over it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What upstream allows for some models: rpm, input_tpm, output_tpm, tpm, rpd, tpd, tpw, concurrent. May be repeated.
    #[arg(long = "limit", value_name = "MODELS:NAME=N,...", value_parser = limit)]
    limits: Vec<Value>,
    /// Our own ceiling.
    #[arg(long, value_name = "USD")]
    usd_per_day: Option<f64>,
    /// Our own ceiling.
    #[arg(long, value_name = "USD")]
    usd_per_month: Option<f64>,
}

impl Groups {
    pub fn run(self) -> ExitCode {
        let Self { reach, verb } = self;
        run(&reach, async |at| verb.run(at).await)
    }
}

impl Verb {
    async fn run(&self, at: &Session) -> Done {
        match self {
            Self::List => GROUPS.list(at, |_| true).await,
            Self::Show { id } => GROUPS.show(at, id).await,
            Self::Add { name, backend, settings, change } => {
                let mut fields = settings.fields()?;
                fields.set("name", name.as_deref()).set("backend", backend.as_deref());
                GROUPS.create(at, change, &fields.into_body()).await
            }
            Self::Set { id, settings, change } => {
                GROUPS.patch(at, change, id, &settings.fields()?.into_body()).await
            }
            Self::Remove(removal) => GROUPS.remove(at, removal).await,
            Self::Unpark { id, change } => GROUPS.act(at, change, (id, "unpark", "unparked"), None).await,
        }
    }
}

impl Settings {
    fn fields(&self) -> Result<Fields, Trouble> {
        let mut fields = Fields::of(self.file.as_deref())?;
        fields
            .set_list("limits", self.limits.clone())
            .set("usd_per_day", self.usd_per_day)
            .set("usd_per_month", self.usd_per_month);
        Ok(fields)
    }
}
