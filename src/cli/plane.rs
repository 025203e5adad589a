//! `headgate status`, `audit` and `reload`: the gateway as a whole.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use headgate::operate::pages::Pages;
use headgate::operate::{Ask, Trouble};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::resource::{items, pass_line};
use super::session::{Done, Reach, Session, note, object, run, say};
use super::show::{self, Column, field, scalar};

/// Longest time for a reload.
const RELOAD: Duration = Duration::from_secs(120);

/// Show readiness, the store, the last reload and what needs a restart.
#[derive(Args)]
pub struct Status {
    #[command(flatten)]
    reach: Reach,
}

/// Show who changed what, the newest first.
#[derive(Args)]
#[command(after_help = "Examples:
  headgate audit --kind key --id org-a-1
  headgate audit --all --json > audit.json")]
pub struct Audit {
    #[command(flatten)]
    reach: Reach,
    /// Only changes by this token.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only changes of this kind of resource: key, backend, group, route, tenant, token.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only changes of this resource.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All there are.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// Read the configuration files again; ends with 1 where they are rejected.
#[derive(Args)]
pub struct Reload {
    #[command(flatten)]
    reach: Reach,
}

impl Status {
    pub fn run(self) -> ExitCode {
        run(&self.reach, async |at| {
            let answer = at.client.ask(&Ask::get("/status")).await?;
            if at.json { pass_line(&answer) } else { say(&show::object(&object(&answer.body)?)) }
        })
    }
}

impl Reload {
    pub fn run(self) -> ExitCode {
        run(&self.reach, async |at| {
            let mut ask = Ask::new(Method::POST, "/reload");
            ask.within = RELOAD;
            let answer = at.client.ask(&ask).await?;
            let told = object(&answer.body)?;
            if at.json {
                pass_line(&answer)?;
            } else {
                say(&show::object(&told))?;
            }
            if told["outcome"] == "rejected" { Err(Trouble::Said) } else { Ok(()) }
        })
    }
}

const AUDIT: &[Column] = &[
    ("AT", |entry| field(entry, "at")),
    ("ACTOR", |entry| field(entry, "actor")),
    ("ACTION", |entry| field(entry, "action")),
    ("ID", |entry| field(entry, "resource")),
    ("FROM", |entry| field(entry, "source")),
    ("CHANGE", changed),
];

impl Audit {
    pub fn run(self) -> ExitCode {
        run(&self.reach, async |at| self.show(at).await)
    }

    async fn show(&self, at: &Session) -> Done {
        let given = [("actor", &self.actor), ("kind", &self.kind), ("id", &self.id)];
        let query: Vec<_> =
            given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        let most = if self.all { usize::MAX } else { usize::try_from(self.limit).unwrap_or(usize::MAX) };
        let pages = Pages::read(&at.client, "/audit", &query, most).await?;
        if at.json {
            return say(&pages.document());
        }
        let entries = items(&pages)?;
        if entries.is_empty() {
            note("nothing was changed");
            return Ok(());
        }
        say(&show::table(AUDIT, &entries))
    }
}

/// The fields that differ before and after.
fn changed(entry: &Value) -> String {
    let side = |name: &str| entry.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let (before, after) = (side("before"), side("after"));
    if before.is_empty() || after.is_empty() {
        return "-".to_owned();
    }
    let was = |name: &str| before.get(name).unwrap_or(&Value::Null);
    let differing = after.iter().filter(|(name, now)| was(name) != *now);
    let told = |name: &str, item: &Map<String, Value>, value: &Value| match name {
        "parks" => show::parks(&json!({ "parks": item.get(name) })),
        _ => scalar(value),
    };
    let mut said: Vec<String> = differing
        .map(|(name, now)| {
            format!("{name}: {} -> {}", told(name, &before, was(name)), told(name, &after, now))
        })
        .collect();
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    said.extend(gone.map(|name| format!("{name}: {} -> -", scalar(was(name)))));
    if said.is_empty() { "-".to_owned() } else { said.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_by_what_differs() {
        let entry = json!({ "before": { "weight": 1, "name": "a", "group": "g" }, "after": { "weight": 2, "name": "a" } });
        assert_eq!(changed(&entry), "weight: 1 -> 2, group: g -> -");
        assert_eq!(changed(&json!({ "after": { "weight": 1 } })), "-");
        let park = json!({ "reason": "operator", "class": null, "remaining_ms": 5000 });
        let entry = json!({ "before": { "parks": [] }, "after": { "parks": [park] } });
        assert_eq!(changed(&entry), "parks: - -> operator (5s)");
    }
}
