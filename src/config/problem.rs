//! What is wrong with a configuration: every problem at once, each at the option's path.
//!
//! A problem's text never holds a value that could be a secret: it names the option, what is wrong and what was
//! expected.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the option, such as `backends[1].keys[0].secret`; or a file or variable where no option can be named.
    pub option: String,
    /// What is wrong and what was expected.
    pub text: String,
}

impl Problem {
    /// A problem at `option`.
    #[must_use]
    pub fn new(option: impl Into<String>, text: impl Into<String>) -> Self {
        Self { option: option.into(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.option, self.text)
    }
}

/// A configuration that cannot be used, with all that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The problems, never empty: first names and types, then values.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}
