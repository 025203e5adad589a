//! How a command reaches its gateway, and how it says what came of it.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use headgate::config::Environment;
use headgate::operate::{Client, Trouble};
use headgate_providers::Secret;
use serde_json::Value;

/// What a command comes to.
pub type Done = Result<(), Trouble>;

/// Where the admin API listens by default.
const USUAL_ADDRESS: &str = "http://127.0.0.1:9090";
/// Most bytes read of a file or of standard input.
const LARGEST_INPUT: u64 = 16 << 20;

/// How to reach the gateway. The token comes from `HEADGATE_ADMIN_TOKEN` or a file, never from an argument.
#[derive(Args)]
pub struct Reach {
    /// The admin address; by default `HEADGATE_ADMIN_URL`, else http://127.0.0.1:9090.
    #[arg(long, value_name = "URL", global = true, help_heading = "Gateway")]
    url: Option<String>,
    /// Read the admin token from this file instead of `HEADGATE_ADMIN_TOKEN`.
    #[arg(long, value_name = "FILE", global = true, help_heading = "Gateway")]
    token_file: Option<PathBuf>,
    /// Trust these certificates too (PEM).
    #[arg(long, value_name = "FILE", global = true, help_heading = "Gateway")]
    ca_file: Option<PathBuf>,
    /// Print the JSON of the admin API instead of text for people.
    #[arg(long, global = true, help_heading = "Gateway")]
    json: bool,
}

/// What every change may say of itself.
#[derive(Args)]
pub struct Change {
    /// Check the change and show what would be; nothing changes.
    #[arg(long, help_heading = "Change")]
    pub dry_run: bool,
    /// Only if the resource still has this revision.
    #[arg(long, value_name = "REVISION", help_heading = "Change")]
    pub if_match: Option<String>,
}

/// One command's talk with a gateway.
pub struct Session {
    pub client: Client,
    pub json: bool,
    pub environment: Environment,
}

/// Does `work` with the gateway that `reach` leads to.
pub fn run(reach: &Reach, work: impl AsyncFnOnce(&Session) -> Done) -> ExitCode {
    let done = (|| {
        let session = Session::open(reach)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Trouble::Local(format!("cannot start: {error}")))?;
        runtime.block_on(work(&session))
    })();
    ended(done)
}

/// The exit code of what a command came to; what is wrong goes to standard error.
pub fn ended(done: Done) -> ExitCode {
    let Err(trouble) = done else { return ExitCode::SUCCESS };
    if !matches!(trouble, Trouble::Gone | Trouble::Said) {
        note(&format!("headgate: {trouble}"));
    }
    ExitCode::from(trouble.exit_code())
}

impl Session {
    fn open(reach: &Reach) -> Result<Self, Trouble> {
        let environment = Environment::of_process();
        let url = reach.url.as_deref().or_else(|| environment.get("HEADGATE_ADMIN_URL"));
        let token = match &reach.token_file {
            Some(file) => Secret::new(input(file)?.expose().trim().to_owned()),
            None => {
                let token = environment.get("HEADGATE_ADMIN_TOKEN").map(str::trim);
                let none = "no admin token: set HEADGATE_ADMIN_TOKEN, or give --token-file FILE";
                Secret::new(token.ok_or_else(|| Trouble::Refused(none.to_owned()))?.to_owned())
            }
        };
        let ca_pem = reach.ca_file.as_deref().map(input).transpose()?;
        let ca_pem = ca_pem.map(|pem| pem.expose().as_bytes().to_vec());
        let client = Client::new(url.unwrap_or(USUAL_ADDRESS), token, ca_pem)?;
        if client.is_exposed() {
            note(
                "headgate: the admin token crosses the network in the clear; use https, or a tunnel to 127.0.0.1",
            );
        }
        Ok(Self { client, json: reach.json, environment })
    }
}

/// Writes `text` to standard output, with an end of line.
pub fn say(text: &str) -> Done {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.trim_end_matches('\n').as_bytes()).and_then(|()| out.write_all(b"\n"));
    written.and_then(|()| out.flush()).map_err(|error| Trouble::writing(&error))
}

/// Writes the bytes of an answer to standard output.
pub fn pass(bytes: &[u8]) -> Done {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Trouble::writing(&error))
}

/// Says something beside the answer, on standard error.
pub fn note(text: &str) {
    let mut out = std::io::stderr().lock();
    // Nobody reads it where this fails.
    drop(writeln!(out, "{text}"));
}

/// Asks a person to confirm; without one the answer has to be given beforehand.
pub fn confirm(question: &str, yes: bool) -> Done {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Trouble::Arguments("there is nobody to ask for confirmation; add --yes".to_owned()));
    }
    let mut err = std::io::stderr().lock();
    let asked = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
    asked.map_err(|error| Trouble::writing(&error))?;
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|error| Trouble::Local(format!("cannot read the answer: {error}")))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Trouble::Local("nothing was changed".to_owned()))
    }
}

/// What a file holds, as text; `-` is standard input.
pub fn input(file: &Path) -> Result<Secret, Trouble> {
    let shown = file.display();
    let unreadable = |error: std::io::Error| Trouble::Local(format!("{shown}: cannot be read: {error}"));
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(LARGEST_INPUT).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).map_err(unreadable)?.take(LARGEST_INPUT).read_to_string(&mut text)
    };
    let read = read.map_err(unreadable)?;
    if u64::try_from(read).unwrap_or(u64::MAX) >= LARGEST_INPUT {
        return Err(Trouble::Local(format!("{shown}: is larger than {} MiB", LARGEST_INPUT >> 20)));
    }
    Ok(Secret::new(text))
}

/// The object of an answer; nothing where there is none.
pub fn object(body: &[u8]) -> Result<Value, Trouble> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|error| Trouble::Local(format!("the answer is not JSON: {error}")))
}
