//! `headgate tenants`: who may call, and how much.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use headgate::operate::Trouble;
use serde_json::{Map, Value};

use super::document::Fields;
use super::resource::{Removal, Resource};
use super::session::{Change, Done, Reach, Session, input, run};
use super::show::{field, source};

const TENANTS: Resource = Resource {
    path: "/tenants",
    noun: "tenant",
    minted: Some("key"),
    columns: &[
        ("NAME", |tenant| field(tenant, "name")),
        ("PRIORITY", |tenant| field(tenant, "priority")),
        ("MODELS", |tenant| field(tenant, "models")),
        ("RPM", |tenant| field(tenant, "/limits/rpm")),
        ("INPUT-TPM", |tenant| field(tenant, "/limits/input_tpm")),
        ("OUTPUT-TPM", |tenant| field(tenant, "/limits/output_tpm")),
        ("USD/DAY", |tenant| field(tenant, "/limits/usd_per_day")),
        ("USD/MONTH", |tenant| field(tenant, "/limits/usd_per_month")),
        ("SOURCE", source),
    ],
};

/// List, add and change tenants; rotate their keys.
#[derive(Args)]
#[command(after_help = "A tenant's key is made by the gateway and printed once, alone on standard output.

Examples:
  headgate tenants add acme --model 'claude-*' --rpm 600 --usd-per-month 1000 > acme.key
  headgate tenants set acme --rpm 1200
  headgate tenants rotate acme > acme.key")]
pub struct Tenants {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// All tenants with their limits.
    List,
    /// One tenant.
    Show { name: String },
    /// Add a tenant, and print its key.
    Add {
        /// Its name, unless the file has one.
        #[arg(required_unless_present = "file")]
        name: Option<String>,
        /// Bring a key instead of having one made: the file that holds it; - is standard input.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        change: Change,
    },
    /// Change what is named of a tenant.
    Set {
        name: String,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        change: Change,
    },
    /// Remove a tenant; its key is refused from the next request on.
    Remove(Removal),
    /// Give a tenant a new key, and print it; the old one is refused from the next request on.
    Rotate {
        name: String,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Args)]
struct Settings {
    /// An object of YAML or JSON with any options of a tenant; - is standard input. Flags win over it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A model it may use; * stands for anything. May be repeated.
    #[arg(long = "model", value_name = "PATTERN")]
    models: Vec<String>,
    /// critical, normal or background.
    #[arg(long, value_name = "CLASS")]
    priority: Option<String>,
    /// Its share against other tenants of its class.
    #[arg(long, value_name = "NUMBER")]
    weight: Option<f64>,
    #[command(flatten)]
    limits: Limits,
}

/// Limits of a tenant; 0 is none.
#[derive(Args)]
#[command(next_help_heading = "Limits (0 = none)")]
struct Limits {
    /// Requests a minute.
    #[arg(long, value_name = "N")]
    rpm: Option<u64>,
    /// Requests an hour.
    #[arg(long, value_name = "N")]
    rph: Option<u64>,
    /// Requests a day.
    #[arg(long, value_name = "N")]
    rpd: Option<u64>,
    /// Requests at once after a pause.
    #[arg(long, value_name = "N")]
    burst: Option<u64>,
    /// Requests under way at a time.
    #[arg(long, value_name = "N")]
    concurrent: Option<u64>,
    /// Input tokens a minute.
    #[arg(long, value_name = "N")]
    input_tpm: Option<u64>,
    /// Output tokens a minute.
    #[arg(long, value_name = "N")]
    output_tpm: Option<u64>,
    /// Tokens a minute.
    #[arg(long, value_name = "N")]
    tpm: Option<u64>,
    /// Tokens a day.
    #[arg(long, value_name = "N")]
    tpd: Option<u64>,
    /// Tokens a week.
    #[arg(long, value_name = "N")]
    tpw: Option<u64>,
    /// Dollars a day.
    #[arg(long, value_name = "USD")]
    usd_per_day: Option<f64>,
    /// Dollars a month.
    #[arg(long, value_name = "USD")]
    usd_per_month: Option<f64>,
}

impl Tenants {
    pub fn run(self) -> ExitCode {
        let Self { reach, verb } = self;
        run(&reach, async |at| verb.run(at).await)
    }
}

impl Verb {
    async fn run(&self, at: &Session) -> Done {
        match self {
            Self::List => TENANTS.list(at, |_| true).await,
            Self::Show { name } => TENANTS.show(at, name).await,
            Self::Add { name, key_file, settings, change } => {
                let mut fields = settings.fields()?;
                fields.set("name", name.as_deref());
                if let Some(file) = key_file {
                    fields.set("key", Some(input(file)?.expose().trim()));
                }
                TENANTS.create(at, change, &fields.into_body()).await
            }
            Self::Set { name, settings, change } => {
                TENANTS.patch(at, change, name, &settings.fields()?.into_body()).await
            }
            Self::Remove(removal) => TENANTS.remove(at, removal).await,
            Self::Rotate { name, change } => TENANTS.act(at, change, (name, "rotate", "rotated"), None).await,
        }
    }
}

impl Settings {
    fn fields(&self) -> Result<Fields, Trouble> {
        let mut fields = Fields::of(self.file.as_deref())?;
        fields.set_list("models", self.models.clone());
        fields.set("priority", self.priority.as_deref()).set("weight", self.weight);
        fields.merge("limits", self.limits.given());
        Ok(fields)
    }
}

impl Limits {
    fn given(&self) -> Map<String, Value> {
        let counts = [
            ("rpm", self.rpm),
            ("rph", self.rph),
            ("rpd", self.rpd),
            ("burst", self.burst),
            ("concurrent", self.concurrent),
            ("input_tpm", self.input_tpm),
            ("output_tpm", self.output_tpm),
            ("tpm", self.tpm),
            ("tpd", self.tpd),
            ("tpw", self.tpw),
        ];
        let dollars = [("usd_per_day", self.usd_per_day), ("usd_per_month", self.usd_per_month)];
        let counts = counts.into_iter().filter_map(|(name, count)| Some((name.to_owned(), count?.into())));
        counts
            .chain(dollars.into_iter().filter_map(|(name, usd)| Some((name.to_owned(), usd?.into()))))
            .collect()
    }
}
