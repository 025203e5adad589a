//! `headgate keys import`: many keys at once, each with its own result.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use headgate::operate::import::{Shared, of_file, of_variables, requests};
use headgate::operate::{Ask, Trouble};
use hyper::Method;
use serde_json::{Value, json};

use crate::cli::resource::changing;
use crate::cli::session::{Change, Done, Session, input, note, object, say};
use crate::cli::show::{self, Column, field};
use crate::cli::source::Kind;

/// Longest time for one request of keys.
const IMPORT: Duration = Duration::from_secs(120);

const COLUMNS: &[Column] = &[
    ("NAME", |key| field(key, "name")),
    ("STATUS", |key| field(key, "status")),
    ("DETAIL", |key| field(key, "detail")),
];

#[derive(Args)]
#[command(
    after_help = "A file holds lines NAME=SECRET or secrets alone (named by their digest), or JSON: an array of secrets or of
objects {\"name\", \"secret\", \"backend\", \"group\", \"weight\"}. Importing it again changes nothing: a key that is there
stays as it is, and one with another secret is a conflict. Ends with 1 where a key was not taken.

Examples:
  headgate keys import --backend anthropic --file keys.txt
  vault kv get -format=json ... | jq '...' | headgate keys import --backend anthropic --file -
  headgate keys import --backend anthropic --from-env ANTHROPIC_KEY_,SPARE_KEY"
)]
pub struct Import {
    /// The backend of keys that name none.
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    #[command(flatten)]
    origin: Origin,
    /// The limit group of keys that name none.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The weight of keys that name none.
    #[arg(long, value_name = "NUMBER")]
    weight: Option<f64>,
    /// What plain secrets are.
    #[arg(long, value_name = "KIND", default_value = "secret")]
    kind: Kind,
    /// Check the keys and show what would be; nothing changes.
    #[arg(long)]
    dry_run: bool,
}

/// Where the keys are; one of them.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Origin {
    /// Variables, by name or by what their names begin with.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    from_env: Vec<String>,
    /// A file of keys; - is standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Import {
    pub async fn run(&self, at: &Session) -> Done {
        let (backend, group) = (self.backend.clone(), self.group.clone());
        let shared = Shared { backend, group, weight: self.weight, plain: self.kind.plain() };
        let keys = match &self.origin.file {
            Some(file) => of_file(input(file)?.expose(), &shared)
                .map_err(|what| Trouble::Local(format!("{}: {what}", file.display())))?,
            None => of_variables(&self.origin.from_env, &at.environment, &shared).map_err(Trouble::Local)?,
        };
        let mut results = Vec::new();
        for request in requests(keys) {
            let mut ask = Ask::new(Method::POST, "/keys/import").body(&request);
            // The same keys again are no change.
            (ask.repeatable, ask.within) = (true, IMPORT);
            let change = Change { dry_run: self.dry_run, if_match: None };
            match at.client.ask(&changing(ask, &change)).await {
                Ok(answer) => results.extend(of_answer(&answer.body)?),
                Err(trouble) => {
                    // What went before has been done; it must not be lost from sight.
                    if !results.is_empty() {
                        tell(at, &results)?;
                    }
                    return Err(trouble);
                }
            }
        }
        tell(at, &results)?;
        if self.dry_run {
            note("dry run: nothing was changed");
        }
        let taken = |result: &Value| matches!(result["status"].as_str(), Some("created" | "unchanged"));
        if results.iter().all(taken) { Ok(()) } else { Err(Trouble::Said) }
    }
}

fn of_answer(body: &[u8]) -> Result<Vec<Value>, Trouble> {
    match object(body)?.get_mut("results").map(Value::take) {
        Some(Value::Array(results)) => Ok(results),
        Some(_) | None => Err(Trouble::Local("the answer holds no results".to_owned())),
    }
}

fn tell(at: &Session, results: &[Value]) -> Done {
    if at.json {
        return say(&json!({ "results": results }).to_string());
    }
    say(&show::table(COLUMNS, results))?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for result in results {
        *counts.entry(field(result, "status")).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
    note(&counts.join(", "));
    Ok(())
}
