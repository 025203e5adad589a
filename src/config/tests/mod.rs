//! What the configuration promises.

mod environment;
mod listeners;
mod manual;
mod overlay;
mod prices;
mod problems;
mod secrets;
mod surface;

use std::path::PathBuf;

use super::checked::Settings;
use super::{ConfigError, Environment, load};

/// A folder of configuration files and the variables beside it.
struct Deployment {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Deployment {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    /// A deployment of one file.
    fn of(yaml: &str) -> Self {
        Self::new().file("headgate.yaml", yaml)
    }

    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn environment(&self) -> Environment {
        self.variables.iter().cloned().collect()
    }

    fn load(&self) -> Result<Settings, ConfigError> {
        load(&[self.path("headgate.yaml")], &self.environment())
    }

    fn settings(&self) -> Settings {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The problems as printed, one a line.
    fn problems(&self) -> Vec<String> {
        match self.load() {
            Ok(_) => Vec::new(),
            Err(error) => error.to_string().lines().map(str::to_owned).collect(),
        }
    }

    fn check(&self) -> String {
        super::check(&[self.path("headgate.yaml")], &self.environment()).unwrap()
    }
}
