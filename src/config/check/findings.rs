//! What the checks have found so far: problems, warnings and what became of every reference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use headgate_providers::Secret;

use crate::config::environment::Environment;
use crate::config::problem::Problem;
use crate::config::reference::{EXPECTED, Reference, Unresolved};

/// What became of one reference; shown by `headgate check`.
pub struct Outcome {
    /// Path of the option.
    pub option: String,
    /// The reference, redacted.
    pub source: String,
    /// `set`, `not set` or `wrong`.
    pub state: &'static str,
}

/// What the admin API made of what is judged.
#[derive(Default)]
pub struct StoredParts {
    /// Paths of its objects.
    pub places: BTreeSet<String>,
    /// Its secrets by what follows `stored:`.
    pub secrets: BTreeMap<String, Secret>,
}

/// What the checks have found so far.
pub struct Findings<'a> {
    /// Where references look.
    pub env: &'a Environment,
    /// Problems.
    pub problems: Vec<Problem>,
    /// Warnings, each a sentence.
    pub warnings: Vec<String>,
    /// References, in the order of the options.
    pub references: Vec<Outcome>,
    /// Files that options refer to.
    pub files: BTreeSet<PathBuf>,
    /// What the admin API made.
    pub stored: StoredParts,
    /// Whether backends that the admin API made may be anywhere (`server.allow_private_upstreams`).
    pub allow_private: bool,
    /// Options that could not be read at all: nothing more is said about them or what they hold.
    unread: Vec<String>,
}

impl<'a> Findings<'a> {
    /// Begins with the problems of reading the shape.
    pub fn new(env: &'a Environment, problems: Vec<Problem>) -> Self {
        let unread = problems.iter().map(|problem| problem.option.clone()).collect();
        Self {
            env,
            problems,
            warnings: Vec::new(),
            references: Vec::new(),
            files: BTreeSet::new(),
            stored: StoredParts::default(),
            allow_private: false,
            unread,
        }
    }

    /// Whether the admin API made the object at `path`.
    pub fn is_stored(&self, path: &str) -> bool {
        self.stored.places.contains(path)
    }

    /// Whether the object at `path` may lead only to public addresses.
    pub fn is_guarded(&self, path: &str) -> bool {
        self.is_stored(path) && !self.allow_private
    }

    /// The digest in an option of 64 hex digits.
    pub fn digest(&mut self, path: &str, text: &str) -> [u8; 32] {
        let mut digest = [0; 32];
        let bytes = text.trim().as_bytes();
        let mut pairs = bytes.chunks_exact(2).map(|pair| {
            let text = std::str::from_utf8(pair).ok().filter(|text| !text.starts_with('+'));
            text.and_then(|text| u8::from_str_radix(text, 16).ok())
        });
        let filled =
            digest.iter_mut().all(|place| pairs.next().flatten().map(|byte| *place = byte).is_some());
        if !filled || bytes.len() != 64 {
            self.wrong(path, "is not a SHA-256 digest, expected 64 hex digits");
        }
        digest
    }

    /// Notes a problem at the option `path`.
    pub fn wrong(&mut self, path: impl Into<String>, text: impl Into<String>) {
        let path = path.into();
        let below = |unread: &String| {
            path.strip_prefix(unread.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        if !self.unread.iter().any(below) {
            self.problems.push(Problem::new(path, text));
        }
    }

    /// Notes an option that is missing in the table at `path`, unless a part of it could not be read: that would explain it.
    pub fn wrong_in(&mut self, path: &str, option: &str, text: impl Into<String>) {
        let part = |unread: &String| unread.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        if !self.unread.iter().any(part) {
            self.wrong(format!("{path}.{option}"), text);
        }
    }

    /// Notes something an operator should know.
    pub fn warn(&mut self, path: &str, text: impl Display) {
        self.warnings.push(format!("{path}: {text}"));
    }

    /// Notes a number outside its range.
    pub fn within<T: PartialOrd + Display>(&mut self, path: &str, value: T, range: RangeInclusive<T>) {
        if !range.contains(&value) {
            let text = format!("is {value}, expected {} to {}", range.start(), range.end());
            self.wrong(path, text);
        }
    }

    /// A required text; blank counts as missing.
    pub fn text(&mut self, path: &str, value: Option<&str>) -> String {
        let text = value.map(str::trim).unwrap_or_default();
        if text.is_empty() {
            self.wrong(path, "is missing");
        }
        text.to_owned()
    }

    /// A required name, which is also an id: in URLs, headers and metrics.
    pub fn name(&mut self, path: &str, value: Option<&str>, taken: &mut BTreeSet<String>) -> String {
        let Some(name) = value else {
            self.wrong(path, "is missing");
            return String::new();
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:@".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            self.wrong(path, "is not a name, expected 1 to 64 letters, digits and . _ - : @");
        } else if !taken.insert(name.to_owned()) {
            self.wrong(path, format!("`{name}` is used twice, expected a name of its own"));
        }
        name.to_owned()
    }

    /// A relative share.
    pub fn weight(&mut self, path: &str, value: Option<f64>) -> f64 {
        let weight = value.unwrap_or(1.0);
        if !(weight.is_finite() && weight > 0.0) {
            self.wrong(path, format!("is {weight}, expected a number above 0"));
        }
        weight
    }

    /// A ceiling in US dollars; 0 is none.
    pub fn dollars(&mut self, path: &str, value: Option<f64>) -> Option<f64> {
        let dollars = value?;
        if !(dollars.is_finite() && dollars >= 0.0) {
            self.wrong(path, format!("is {dollars}, expected US dollars, 0 or more"));
        }
        Some(dollars).filter(|dollars| *dollars > 0.0)
    }

    /// A secret of one line that must be there.
    pub fn secret(&mut self, path: &str, reference: Option<&Reference>) -> Option<Secret> {
        let Some(reference) = reference else {
            self.wrong(path, "is missing");
            return None;
        };
        if !self.is_reference(path, reference) {
            return None;
        }
        let secret = self.resolved(path, reference)?;
        self.one_line(path, secret)
    }

    /// A text of several lines (PEM, JSON) that must be there.
    pub fn document(&mut self, path: &str, reference: Option<&Reference>) -> Option<Secret> {
        let Some(reference) = reference else {
            self.wrong(path, "is missing");
            return None;
        };
        if self.is_reference(path, reference) { self.resolved(path, reference) } else { None }
    }

    /// A secret whose absence only switches `feature` off.
    pub fn optional_secret(&mut self, path: &str, reference: &Reference, feature: &str) -> Option<Secret> {
        if !self.is_reference(path, reference) {
            return None;
        }
        match reference.resolve(self.env, &self.stored.secrets) {
            Err(Unresolved::Unset(text)) => {
                self.note(path, reference, "not set");
                self.warn(path, format_args!("{text}: {feature}"));
                None
            }
            Ok(_) | Err(Unresolved::Broken(_)) => {
                let secret = self.resolved(path, reference)?;
                self.one_line(path, secret)
            }
        }
    }

    /// A text that may be written out without warning, or be a reference.
    pub fn open_text(&mut self, path: &str, reference: &Reference) -> Option<Secret> {
        let secret = self.resolved(path, reference)?;
        self.one_line(path, secret)
    }

    fn is_reference(&mut self, path: &str, reference: &Reference) -> bool {
        if let Reference::Plain(_) = reference {
            self.wrong(path, format!("is not a reference, expected {EXPECTED}"));
            return false;
        }
        true
    }

    fn resolved(&mut self, path: &str, reference: &Reference) -> Option<Secret> {
        let text = match reference.resolve(self.env, &self.stored.secrets) {
            Ok(secret) if !secret.expose().is_empty() => {
                self.note(path, reference, "set");
                if let Reference::Value(_) = reference {
                    self.warn(
                        path,
                        "a secret is written out in the configuration; env: and file: keep it out",
                    );
                }
                return Some(secret);
            }
            Ok(_) => format!("{reference} is empty"),
            Err(Unresolved::Unset(text) | Unresolved::Broken(text)) => text,
        };
        self.note(path, reference, "wrong");
        self.wrong(path, text);
        None
    }

    fn one_line(&mut self, path: &str, secret: Secret) -> Option<Secret> {
        if secret.expose().chars().any(char::is_control) {
            self.wrong(path, "holds a control character or a line end, expected one line of text");
            return None;
        }
        Some(secret)
    }

    fn note(&mut self, path: &str, reference: &Reference, state: &'static str) {
        if let Reference::File(file) = reference {
            self.files.insert(file.into());
        }
        if !matches!(reference, Reference::Plain(_)) {
            self.references.push(Outcome { option: path.to_owned(), source: reference.to_string(), state });
        }
    }
}
