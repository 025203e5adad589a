//! What can go wrong between an operator and a gateway, as one sentence and one exit code.

use std::fmt;
use std::io;

use serde::Deserialize;

use super::printable::printable;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The arguments do not fit together.
    #[error("{0}")]
    Arguments(String),
    /// Something on this machine: a file, a variable, an answer that nobody understands.
    #[error("{0}")]
    Local(String),
    /// The gateway cannot be reached.
    #[error("cannot reach the gateway at {0}")]
    Unreachable(String),
    /// A connection was there, an answer was not: what was asked may have been done.
    #[error("{0}")]
    Lost(String),
    /// No token, or one that the gateway refuses.
    #[error("{0}")]
    Refused(String),
    /// The gateway says what is wrong.
    #[error("{0}")]
    Problem(Problem),
    /// The command did its work, and the finding is bad; all has been said.
    #[error("")]
    Said,
    /// Whoever read our output has gone (`| head`).
    #[error("")]
    Gone,
}

impl Trouble {
    /// The exit code: 2 for arguments, 69 (`EX_UNAVAILABLE`), 77 (`EX_NOPERM`), 0 where the reader had enough, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Gone => 0,
            Self::Local(_) | Self::Problem(_) | Self::Said => 1,
            Self::Arguments(_) => 2,
            Self::Unreachable(_) | Self::Lost(_) => 69,
            Self::Refused(_) => 77,
        }
    }

    /// Trouble with writing an answer down.
    #[must_use]
    pub fn writing(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Gone
        } else {
            Self::Local(format!("cannot write: {error}"))
        }
    }
}

/// An answer that is an error, `application/problem+json` (RFC 9457) where the gateway itself gave it.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Problem {
    /// The status of the answer.
    #[serde(skip)]
    pub status: u16,
    /// The field that is wrong, where it is one.
    pub field: Option<String>,
    /// What is wrong.
    pub detail: String,
    /// Its kind in a few words.
    pub title: String,
}

impl Problem {
    /// From an answer of whatever form: something in between may have given it.
    #[must_use]
    pub fn of(status: u16, body: &[u8]) -> Self {
        let told: Self = serde_json::from_slice(body).unwrap_or_default();
        Self { status, ..told }
    }

    /// The trouble it is: a token that is refused has an exit code of its own.
    #[must_use]
    pub fn trouble(self) -> Trouble {
        match self.status {
            401 | 403 => Trouble::Refused(self.to_string()),
            _ => Trouble::Problem(self),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(field) = self.field.as_deref().filter(|field| !field.is_empty()) {
            write!(f, " {}:", printable(field))?;
        }
        match (self.detail.as_str(), self.title.as_str()) {
            ("", "") => f.write_str(" and no reason: is this the gateway's admin address?"),
            ("", words) | (words, _) => write!(f, " {}", printable(words)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_sentence_that_names_the_field() {
        let body = br#"{"type":"urn:headgate:problem:bad-request","title":"t","detail":"expected a number above 0","field":"weight"}"#;
        let problem = Problem::of(400, body);
        assert_eq!(problem.to_string(), "400 weight: expected a number above 0");
        assert_eq!(problem.trouble().exit_code(), 1);
    }

    #[test]
    fn a_refused_token_has_its_own_exit_code() {
        for status in [401, 403] {
            assert_eq!(Problem::of(status, b"{}").trouble().exit_code(), 77);
        }
    }

    #[test]
    fn what_is_no_problem_document_is_not_passed_on() {
        let said = Problem::of(502, b"<html>\x1b[2J secret</html>").to_string();
        assert_eq!(said, "502 and no reason: is this the gateway's admin address?");
    }
}
