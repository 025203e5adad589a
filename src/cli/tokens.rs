//! `headgate tokens`: who may use the admin API.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::resource::{Removal, Resource};
use super::session::{Change, Done, Reach, Session, run};
use super::show::{field, source};

const TOKENS: Resource = Resource {
    path: "/tokens",
    noun: "token",
    minted: Some("token"),
    columns: &[
        ("NAME", |token| field(token, "name")),
        ("ROLE", |token| field(token, "role")),
        ("CREATED", |token| field(token, "created_at")),
        ("SOURCE", source),
    ],
};

/// List, add, rotate and remove admin tokens.
#[derive(Args)]
#[command(after_help = "A token is made by the gateway and printed once, alone on standard output.

Examples:
  headgate tokens add grafana --role viewer > grafana.token
  headgate tokens rotate ops > ops.token")]
pub struct Tokens {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// All tokens, without themselves.
    List,
    /// Make a token, and print it.
    Add {
        name: String,
        /// What it may do.
        #[arg(long, value_name = "ROLE")]
        role: Role,
        #[command(flatten)]
        change: Change,
    },
    /// Remove a token; it is refused from the next request on.
    Remove(Removal),
    /// Make a token anew, and print it; the old one is refused from the next request on.
    Rotate {
        name: String,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// Reads.
    Viewer,
    /// Also acts on keys, groups and breakers.
    Operator,
    /// Everything.
    Admin,
}

impl Tokens {
    pub fn run(self) -> ExitCode {
        let Self { reach, verb } = self;
        run(&reach, async |at| verb.run(at).await)
    }
}

impl Verb {
    async fn run(&self, at: &Session) -> Done {
        match self {
            Self::List => TOKENS.list(at, |_| true).await,
            Self::Add { name, role, change } => {
                let role = match role {
                    Role::Viewer => "viewer",
                    Role::Operator => "operator",
                    Role::Admin => "admin",
                };
                TOKENS.create(at, change, &json!({ "name": name, "role": role })).await
            }
            Self::Remove(removal) => TOKENS.remove(at, removal).await,
            Self::Rotate { name, change } => TOKENS.act(at, change, (name, "rotate", "rotated"), None).await,
        }
    }
}
