//! `headgate keys`: the credentials of the pool.

mod import;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use headgate::operate::printable::printable;
use headgate::operate::span::span;
use headgate::operate::{Ask, Trouble};
use hyper::Method;
use serde_json::{Value, json};

use super::document::{Fields, Format};
use super::export;
use super::resource::{Removal, Resource, changing, pass_line};
use super::session::{Change, Done, Reach, Session, note, object, run, say};
use super::show::{self, field, parks, source};
use super::source::Sources;

/// How often a draining key is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Longest time for sealing everything again.
const RESEAL: Duration = Duration::from_secs(600);
/// Longest time for a test: it asks upstream.
const TEST: Duration = Duration::from_secs(120);

const KEYS: Resource = Resource {
    path: "/keys",
    noun: "key",
    minted: None,
    columns: &[
        ("NAME", |key| field(key, "name")),
        ("BACKEND", |key| field(key, "backend")),
        ("GROUP", |key| field(key, "group")),
        ("WEIGHT", |key| field(key, "weight")),
        ("STATE", |key| field(key, "state")),
        ("IN-FLIGHT", |key| field(key, "in_flight")),
        ("PARKS", parks),
        ("SECRET", |key| field(key, "/secret/last4")),
        ("SOURCE", source),
    ],
};

/// List, add, change, park, drain, test and rotate the keys of the pool.
#[derive(Args)]
#[command(after_help = "Examples:
  headgate keys list --state parked
  headgate keys add org-a-3 --backend anthropic --group org-a            asks for the secret, unseen
  pass show anthropic/org-a-3 | headgate keys add org-a-3 --backend anthropic --secret-stdin
  headgate keys rotate org-a-1 --secret-file /run/secrets/new-key
  headgate keys drain org-a-1 --wait && headgate keys remove org-a-1 --yes")]
pub struct Keys {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// All keys with their state.
    List(List),
    /// One key with everything known of it.
    Show { name: String },
    /// Add a key; it serves at once.
    Add(Add),
    /// Change a key's weight or group.
    Set(Set),
    /// Remove a key; what runs with it finishes.
    Remove(Removal),
    /// Let a key be used again.
    Enable(One),
    /// Use a key for no new request; what runs goes on.
    Disable(One),
    /// Give a key no new requests and let its streams finish.
    Drain(Drain),
    /// Keep a key from being used for a time.
    Park(Park),
    /// Lift a key's own parks.
    Unpark(One),
    /// Ask upstream, at no cost, whether a key works; ends with 1 where it does not.
    Test(Test),
    /// Give a key a new secret; the old one lasts until its last request ends.
    Rotate(Rotate),
    /// Add many keys from a file or from variables; those that are there already stay as they are.
    Import(import::Import),
    /// Seal every stored secret with the newest master key.
    Reseal,
    /// Print all keys without their secrets.
    Export {
        /// The form of it.
        #[arg(long, value_name = "FORMAT", default_value = "yaml")]
        format: Format,
    },
}

#[derive(Args)]
struct List {
    /// Only keys of this backend.
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Only keys in this state, such as ready, parked or disabled.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

#[derive(Args)]
#[command(after_help = "How to give the secret (never as an argument, which all processes can read):
  headgate keys add org-a-3 --backend anthropic                               asks for it, unseen
  headgate keys add org-a-3 --backend anthropic --secret-stdin < key.txt
  headgate keys add org-a-3 --backend anthropic --secret-file key.txt
  headgate keys add org-a-3 --backend anthropic --secret-env ANTHROPIC_KEY_3
  headgate keys add aws-b --backend bedrock-us --secret-env AWS_BEARER_TOKEN_BEDROCK --kind bearer-token
  headgate keys add aws-a --backend bedrock-us --access-key-id-env AWS_ACCESS_KEY_ID --secret-access-key-env AWS_SECRET_ACCESS_KEY
  headgate keys add sa --backend vertex-eu --service-account-file sa.json
  headgate keys add role --backend bedrock-us --credential-chain")]
struct Add {
    /// Its name: 1 to 64 letters, digits and . _ - : @
    name: String,
    /// The backend it belongs to.
    #[arg(long, value_name = "NAME")]
    backend: String,
    /// The limit group whose quota it shares; without one it has a group of its own.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Its share against the other keys of its tier.
    #[arg(long, value_name = "NUMBER")]
    weight: Option<f64>,
    /// Add it, but do not use it yet.
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
struct Set {
    name: String,
    /// Its share against the other keys of its tier.
    #[arg(long, value_name = "NUMBER")]
    weight: Option<f64>,
    /// The limit group whose quota it shares.
    #[arg(long, value_name = "NAME", conflicts_with = "no_group")]
    group: Option<String>,
    /// Give it a group of its own.
    #[arg(long)]
    no_group: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
struct One {
    name: String,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
struct Drain {
    name: String,
    /// Wait until nothing runs with it any more.
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = span)]
    timeout: Duration,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
struct Park {
    name: String,
    /// How long: 90s, 10m, 1h30m.
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    span: Duration,
    /// Why; shown to whoever looks at the key.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
struct Test {
    name: String,
    /// Whether this model can be reached with it.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

#[derive(Args)]
struct Rotate {
    name: String,
    /// Wait until no request uses the old secret any more.
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = span)]
    timeout: Duration,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    change: Change,
}

impl Keys {
    pub fn run(self) -> ExitCode {
        let Self { reach, verb } = self;
        run(&reach, async |at| verb.run(at).await)
    }
}

impl Verb {
    async fn run(&self, at: &Session) -> Done {
        match self {
            Self::List(list) => KEYS.list(at, |key| list.fits(key)).await,
            Self::Show { name } => KEYS.show(at, name).await,
            Self::Add(add) => add.run(at).await,
            Self::Set(set) => set.run(at).await,
            Self::Remove(removal) => KEYS.remove(at, removal).await,
            Self::Enable(one) => one.act(at, "enable", "enabled").await,
            Self::Disable(one) => one.act(at, "disable", "disabled").await,
            Self::Drain(drain) => drain.run(at).await,
            Self::Park(park) => park.run(at).await,
            Self::Unpark(one) => one.act(at, "unpark", "unparked").await,
            Self::Test(test) => test.run(at).await,
            Self::Rotate(rotate) => rotate.run(at).await,
            Self::Import(import) => import.run(at).await,
            Self::Reseal => reseal(at).await,
            Self::Export { format } => export::keys(at, *format).await,
        }
    }
}

impl List {
    fn fits(&self, key: &Value) -> bool {
        let is = |name: &str, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| key[name] == wanted.as_str())
        };
        is("backend", &self.backend) && is("state", &self.state)
    }
}

impl Add {
    async fn run(&self, at: &Session) -> Done {
        let mut fields = Fields::of(None)?;
        fields.set("name", Some(self.name.as_str())).set("backend", Some(self.backend.as_str()));
        fields.set("limit_group", self.group.as_deref()).set("weight", self.weight);
        fields.set("enabled", self.disabled.then_some(false));
        fields.extend(self.sources.read(at, &self.name)?.into_fields());
        KEYS.create(at, &self.change, &fields.into_body()).await
    }
}

impl Set {
    async fn run(&self, at: &Session) -> Done {
        let mut fields = Fields::of(None)?;
        fields.set("weight", self.weight).set("limit_group", self.group.as_deref());
        fields.set("limit_group", self.no_group.then_some(Value::Null));
        KEYS.patch(at, &self.change, &self.name, &fields.into_body()).await
    }
}

impl One {
    async fn act(&self, at: &Session, verb: &str, done: &str) -> Done {
        KEYS.act(at, &self.change, (&self.name, verb, done), None).await
    }
}

impl Park {
    async fn run(&self, at: &Session) -> Done {
        let mut body = json!({ "seconds": self.span.as_secs_f64() });
        if let Some(reason) = &self.reason {
            body["reason"] = reason.as_str().into();
        }
        KEYS.act(at, &self.change, (&self.name, "park", "parked"), Some(&body)).await
    }
}

impl Drain {
    async fn run(&self, at: &Session) -> Done {
        if !self.wait || self.change.dry_run {
            return KEYS.act(at, &self.change, (&self.name, "drain", "draining"), None).await;
        }
        let ask = Ask::new(Method::POST, format!("{}/drain", KEYS.of(&self.name)));
        at.client.ask(&changing(ask, &self.change)).await?;
        until_none(at, &self.name, &["in_flight", "retiring_in_flight"], self.timeout).await
    }
}

impl Rotate {
    async fn run(&self, at: &Session) -> Done {
        let body = Value::Object(self.sources.read(at, &self.name)?.into_fields());
        if !self.wait || self.change.dry_run {
            return KEYS.act(at, &self.change, (&self.name, "rotate", "rotated"), Some(&body)).await;
        }
        let ask = Ask::new(Method::POST, format!("{}/rotate", KEYS.of(&self.name))).body(&body);
        at.client.ask(&changing(ask, &self.change)).await?;
        until_none(at, &self.name, &["retiring_in_flight"], self.timeout).await
    }
}

/// Looks at a key until nothing is under way by any of `counts`, and shows it.
async fn until_none(at: &Session, name: &str, counts: &[&str], timeout: Duration) -> Done {
    let looking = async {
        let mut told = None;
        loop {
            let answer = at.client.ask(&Ask::get(KEYS.of(name))).await?;
            let key = object(&answer.body)?;
            let left: u64 = counts.iter().map(|count| key[*count].as_u64().unwrap_or(0)).sum();
            if left == 0 {
                note(&format!("key {}: nothing is left under way", printable(name)));
                return if at.json { pass_line(&answer) } else { say(&show::table(KEYS.columns, &[key])) };
            }
            if told != Some(left) {
                note(&format!("{left} under way"));
                told = Some(left);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let waited = tokio::time::timeout(timeout, looking).await;
    waited.unwrap_or_else(|_| {
        let name = printable(name);
        Err(Trouble::Local(format!("the change is made, but key {name} still has requests under way")))
    })
}

impl Test {
    async fn run(&self, at: &Session) -> Done {
        let body = self.model.as_ref().map_or_else(|| json!({}), |model| json!({ "model": model }));
        let mut ask = Ask::new(Method::POST, format!("{}/test", KEYS.of(&self.name))).body(&body);
        ask.within = TEST;
        let answer = at.client.ask(&ask).await?;
        let finding = object(&answer.body)?;
        if at.json {
            pass_line(&answer)?;
        } else {
            say(&show::object(&finding))?;
        }
        if finding["ok"] == true { Ok(()) } else { Err(Trouble::Said) }
    }
}

async fn reseal(at: &Session) -> Done {
    let mut ask = Ask::new(Method::POST, "/reseal");
    ask.within = RESEAL;
    let answer = at.client.ask(&ask).await?;
    if at.json {
        return pass_line(&answer);
    }
    let told = object(&answer.body)?;
    if told.is_null() {
        say("every stored secret is sealed with the newest master key")
    } else {
        say(&show::object(&told))
    }
}
