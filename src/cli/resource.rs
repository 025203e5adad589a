//! What all resources of the admin API have in common: list, show, create, change, remove, act.

use clap::Args;
use headgate::operate::client::segment;
use headgate::operate::pages::Pages;
use headgate::operate::printable::printable;
use headgate::operate::{Answer, Ask, Trouble};
use hyper::Method;
use serde_json::Value;

use super::session::{Change, Done, Session, confirm, note, object, pass, say};
use super::show::{self, Column};

/// A kind of resource.
pub struct Resource {
    /// Its path below the API's root.
    pub path: &'static str,
    /// One of it, in words.
    pub noun: &'static str,
    /// A secret that is shown once, at creation and rotation.
    pub minted: Option<&'static str>,
    /// What a table of it shows.
    pub columns: &'static [Column],
}

/// What is to be removed.
#[derive(Args)]
pub struct Removal {
    /// Its name; a group's or route's id.
    id: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    change: Change,
}

impl Resource {
    /// All that fit.
    pub async fn list(&self, at: &Session, fits: impl Fn(&Value) -> bool) -> Done {
        let mut pages = Pages::read(&at.client, self.path, &[], usize::MAX).await?;
        pages.retain(fits);
        if at.json {
            return say(&pages.document());
        }
        let items = items(&pages)?;
        if items.is_empty() {
            note(&format!("no {}", self.noun));
            return Ok(());
        }
        say(&show::table(self.columns, &items))
    }

    /// One of them, as lines.
    pub async fn show(&self, at: &Session, id: &str) -> Done {
        let answer = at.client.ask(&Ask::get(self.of(id))).await?;
        if at.json { pass_line(&answer) } else { say(&show::object(&object(&answer.body)?)) }
    }

    /// Makes one. Asked twice the gateway makes one all the same: the question carries its own key.
    pub async fn create(&self, at: &Session, change: &Change, body: &Value) -> Done {
        let mut ask = Ask::new(Method::POST, self.path).body(body);
        ask.headers.push(("idempotency-key", uuid::Uuid::new_v4().to_string()));
        ask.repeatable = true;
        self.write(at, change, ask, "created").await
    }

    /// Changes the named fields; null takes an option back to its default.
    pub async fn patch(&self, at: &Session, change: &Change, id: &str, body: &Value) -> Done {
        if body.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(Trouble::Arguments("nothing to change was given".to_owned()));
        }
        self.write(at, change, Ask::new(Method::PATCH, self.of(id)).body(body), "changed").await
    }

    /// Removes one, after asking.
    pub async fn remove(&self, at: &Session, removal: &Removal) -> Done {
        let Removal { id, yes, change } = removal;
        confirm(&format!("Remove the {} `{}`?", self.noun, printable(id)), *yes || change.dry_run)?;
        let answer = at.client.ask(&changing(Ask::new(Method::DELETE, self.of(id)), change)).await?;
        warn(&object(&answer.body)?);
        if at.json {
            return pass_line(&answer);
        }
        if would(change) { Ok(()) } else { say(&format!("{} {} removed", self.noun, printable(id))) }
    }

    /// Does something with one: `verb` is the last part of the path, `done` what has then been done to it.
    pub async fn act(
        &self,
        at: &Session,
        change: &Change,
        (id, verb, done): (&str, &str, &str),
        body: Option<&Value>,
    ) -> Done {
        let ask = Ask::new(Method::POST, format!("{}/{verb}", self.of(id)));
        let ask = if let Some(body) = body { ask.body(body) } else { ask };
        self.write(at, change, ask, done).await
    }

    /// The path of one.
    pub fn of(&self, id: &str) -> String {
        format!("{}/{}", self.path, segment(id))
    }

    async fn write(&self, at: &Session, change: &Change, ask: Ask, done: &str) -> Done {
        let answer = at.client.ask(&changing(ask, change)).await?;
        let told = object(&answer.body)?;
        warn(&told);
        let minted = self.minted.and_then(|field| told.get(field)).and_then(Value::as_str);
        if minted.is_some() {
            note(&format!("the {} is shown this once: keep it now", self.minted.unwrap_or(self.noun)));
        }
        if at.json {
            return pass_line(&answer);
        }
        let dry = would(change);
        let name = told.get("id").or_else(|| told.get("name")).map(show::scalar).unwrap_or_default();
        let said = format!("{} {name} {done}", self.noun);
        let row = || show::table(self.columns, std::slice::from_ref(&told));
        match minted {
            // Standard output is the key alone, for whoever pipes it into a safe.
            Some(minted) => {
                note(&said);
                say(minted)
            }
            None if dry => say(&row()),
            None => {
                note(&said);
                say(&row())
            }
        }
    }
}

/// Adds to a question what its change says of itself.
pub fn changing(mut ask: Ask, change: &Change) -> Ask {
    if change.dry_run {
        ask = ask.query("dry_run", Some("true"));
    }
    if let Some(revision) = &change.if_match {
        let quoted = revision.starts_with(['"', 'W', '*']);
        let revision = if quoted { revision.clone() } else { format!("\"{revision}\"") };
        ask.headers.push(("if-match", revision));
    }
    ask
}

/// Says what the gateway warns of.
fn warn(told: &Value) {
    if let Some(warning) = told.get("warning").and_then(Value::as_str) {
        note(&format!("warning: {}", printable(warning)));
    }
}

/// Says so where a change was only tried.
fn would(change: &Change) -> bool {
    if change.dry_run {
        note("dry run: nothing was changed");
    }
    change.dry_run
}

/// The answer as it came, with an end of line.
pub fn pass_line(answer: &Answer) -> Done {
    if answer.body.is_empty() {
        return Ok(());
    }
    pass(&answer.body)?;
    if answer.body.ends_with(b"\n") { Ok(()) } else { pass(b"\n") }
}

/// The items of a list as values.
pub fn items(pages: &Pages) -> Result<Vec<Value>, Trouble> {
    pages.items.iter().map(|item| object(item.get().as_bytes())).collect()
}
