//! Where a secret comes from: a prompt, standard input, a file or a variable. Never an argument, which all processes can read.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use headgate::operate::Trouble;
use headgate::operate::credential::{Credential, Plain};

use super::session::{Session, input};

/// The credential; without any of these it is asked for on the terminal, unseen.
#[derive(Args)]
#[command(next_help_heading = "Secret (one of; on a terminal it is asked for otherwise)")]
pub struct Sources {
    /// Read the secret from standard input (a JSON object is a credential of AWS or Google).
    #[arg(long, group = "source")]
    secret_stdin: bool,
    /// Read the secret from this file.
    #[arg(long, value_name = "FILE", group = "source")]
    secret_file: Option<PathBuf>,
    /// Read the secret from this variable.
    #[arg(long, value_name = "NAME", group = "source")]
    secret_env: Option<String>,
    /// AWS: the variable with the access key's id.
    #[arg(long, value_name = "NAME", group = "source", requires = "secret_access_key_env")]
    access_key_id_env: Option<String>,
    /// AWS: the variable with the secret access key.
    #[arg(long, value_name = "NAME", requires = "access_key_id_env")]
    secret_access_key_env: Option<String>,
    /// AWS: the variable with the session token, where the key has one.
    #[arg(long, value_name = "NAME", requires = "access_key_id_env")]
    session_token_env: Option<String>,
    /// Google: the credential file of a service account.
    #[arg(long, value_name = "FILE", group = "source")]
    service_account_file: Option<PathBuf>,
    /// The platform's own credentials; nothing is stored.
    #[arg(long, group = "source")]
    credential_chain: bool,
    /// What a plain secret is.
    #[arg(long, value_name = "KIND", default_value = "secret")]
    kind: Kind,
}

/// What a plain secret is.
#[derive(Clone, Copy, ValueEnum)]
pub enum Kind {
    /// An API key.
    Secret,
    /// A Bedrock API key.
    BearerToken,
}

impl Kind {
    pub fn plain(self) -> Plain {
        match self {
            Self::Secret => Plain::Secret,
            Self::BearerToken => Plain::BearerToken,
        }
    }
}

impl Sources {
    /// Reads the credential of the key `name`.
    pub fn read(&self, at: &Session, name: &str) -> Result<Credential, Trouble> {
        let plain = self.kind.plain();
        let of_text = |place: &str, text: &str| {
            Credential::of_text(text, plain)
                .map_err(|what| Trouble::Local(format!("{place}: the secret {what}")))
        };
        let variable = |name: &String| {
            // Whoever gives a secret here by mistake must not read it in a log as well.
            let named = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let wrong = "expected the name of a variable, of letters, digits and _; never a secret itself";
            let value = if named {
                at.environment.get(name)
            } else {
                return Err(Trouble::Arguments(wrong.to_owned()));
            };
            value.ok_or_else(|| Trouble::Local(format!("the variable {name} is not set")))
        };
        if self.credential_chain {
            return Ok(Credential::chain());
        }
        if let Some(file) = &self.service_account_file {
            let text = input(file)?;
            let wrong = |what| Trouble::Local(format!("{}: {what}", file.display()));
            return Credential::of_document(text.expose()).map_err(wrong);
        }
        if let (Some(id), Some(secret)) = (&self.access_key_id_env, &self.secret_access_key_env) {
            let session = self.session_token_env.as_ref().map(variable).transpose()?;
            let found = Credential::of_aws(variable(id)?, variable(secret)?, session);
            return found.map_err(|what| Trouble::Local(format!("the AWS key of {id} {what}")));
        }
        if let Some(name) = &self.secret_env {
            return of_text(&format!("the variable {name}"), variable(name)?);
        }
        if let Some(file) = &self.secret_file {
            return of_text(&file.display().to_string(), input(file)?.expose());
        }
        if self.secret_stdin {
            return of_text("standard input", input(Path::new("-"))?.expose());
        }
        if !std::io::stdin().is_terminal() {
            let none =
                "no secret was given: use --secret-stdin, --secret-file, --secret-env or another of `--help`";
            return Err(Trouble::Arguments(none.to_owned()));
        }
        let asked = rpassword::prompt_password(format!("Secret of {name} (not shown): "));
        let text = asked.map_err(|error| Trouble::Local(format!("the secret cannot be read: {error}")))?;
        of_text("the terminal", &text)
    }
}
