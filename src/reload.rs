//! Reloading the configuration while calls run: all or nothing.
//!
//! A reload reads the same files with the same environment as the start did. Settings that cannot be used change nothing and
//! are told to the log, the metrics and `/admin/v1/status`. What only a new process can change is named, not ignored.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Moment;
use crate::config::checked::{Settings, TenantAuth};
use crate::config::{self, ConfigError, Environment, Problem};
use crate::events::{Reloaded, What};
use crate::gateway::Gateway;
use crate::registry;
use crate::watch::{Contents, contents};

/// How long reading the files may take, until the reload is rejected and the next may have its turn.
const READING: Duration = Duration::from_secs(30);
/// What is wrong with files that are sound but for what is missing from them.
const CUT_OFF: &str = "no keys are left and nothing says that this is meant; write `backends: []` if it is";

/// Where the configuration is read again.
#[derive(Clone)]
pub struct Source {
    /// The files, later ones win.
    pub files: Vec<PathBuf>,
    /// The environment as it was at the start.
    pub environment: Environment,
    /// What they said when they were read at the start.
    pub base: Arc<config::Base>,
    /// That as one tree, references in place of secrets.
    pub document: Arc<serde_json::Value>,
    /// What the files held when they were read, so that a change before they are watched is seen too.
    pub held: Contents,
}

impl Source {
    /// Reads the configuration for the first time.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(files: Vec<PathBuf>, environment: Environment) -> Result<(Self, Settings), ConfigError> {
        let mut held = contents(&files);
        let base = config::read(&files, &environment)?;
        let composed = config::compose(&base, &environment, &config::Overlay::default())?;
        let document = Arc::new(composed.document());
        let settings = composed.settings;
        held.extend(contents(&settings.referenced));
        Ok((Self { files, environment, base: Arc::new(base), document, held }, settings))
    }
}

/// Who asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// SIGHUP.
    Signal,
    /// A watched file changed.
    Files,
    /// The admin API.
    Api,
}

impl Trigger {
    /// Its fixed name in the log and the admin API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Files => "files",
            Self::Api => "api",
        }
    }
}

/// One reload.
#[derive(Clone, Debug)]
pub struct Reload {
    /// When.
    pub at: Moment,
    /// Who asked.
    pub trigger: Trigger,
    /// All that is wrong, each `option: what`; empty: the settings took effect.
    pub problems: Vec<String>,
}

impl Reload {
    /// Its fixed name in the log, the metrics and the admin API.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        if self.problems.is_empty() { "applied" } else { "rejected" }
    }
}

/// What became of the configuration since the start.
pub struct Reloads {
    /// What the process was started with, for what only a new process can change.
    started: Arc<Settings>,
    source: OnceLock<Source>,
    /// One reload at a time.
    turn: tokio::sync::Mutex<()>,
    settled: Notify,
    book: Mutex<Book>,
}

/// What is known of reloads.
#[derive(Clone, Debug)]
pub struct Book {
    /// 1 for the settings of the start, one more for each that took effect.
    pub generation: u64,
    /// When the settings in force took effect.
    pub applied_at: Moment,
    /// The last reload, whatever became of it.
    pub last: Option<Reload>,
    /// Options whose new values take effect at the next start.
    pub needs_restart: Vec<&'static str>,
}

impl Reloads {
    /// Nothing was reloaded yet.
    #[must_use]
    pub fn new(started: Arc<Settings>, now: Moment) -> Self {
        let book = Book { generation: 1, applied_at: now, last: None, needs_restart: Vec::new() };
        Self {
            started,
            source: OnceLock::new(),
            turn: tokio::sync::Mutex::default(),
            settled: Notify::new(),
            book: Mutex::new(book),
        }
    }

    /// Says where the configuration is read again; later calls change nothing.
    pub fn set_source(&self, source: Source) {
        if self.source.set(source).is_err() {
            tracing::debug!("the source of the configuration was set before");
        }
    }

    /// What is read again, where there is anything.
    #[must_use]
    pub fn source(&self) -> Option<&Source> {
        self.source.get()
    }

    /// The settings the process was started with.
    #[must_use]
    pub fn started(&self) -> &Settings {
        &self.started
    }

    /// What is known now.
    #[must_use]
    pub fn book(&self) -> Book {
        self.lock().clone()
    }

    /// Waits until settings took effect since the last time it was asked.
    pub async fn settled(&self) {
        self.settled.notified().await;
    }

    /// The turn of whoever changes the settings: a reload or the admin API, one at a time.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the configuration again and, if it is sound, puts it in force. `None` when the gateway has no source to read.
pub async fn reload(gateway: &Gateway, trigger: Trigger) -> Option<Reload> {
    let reloads = &gateway.reloads;
    let source = reloads.source.get()?.clone();
    let _turn = reloads.turn.lock().await;
    let view = gateway.registry.view(gateway);
    let kept_keys = has_keys(&gateway.settings());
    let read = on_its_own_thread(move || {
        if let Some(problem) = not_to_be_read(&source.files) {
            return Err(problem.into());
        }
        let base = config::read(&source.files, &source.environment)?;
        let is_plain = base.is_plain_about_keys();
        let (settings, view) = registry::recompose(&view, base, &source.environment)?;
        if kept_keys && !has_keys(&settings) && !is_plain {
            return Err(Problem::new("backends", CUT_OFF).into());
        }
        Ok((settings, view))
    });
    let read: Result<Result<_, ConfigError>, String> = match tokio::time::timeout(READING, read).await {
        Ok(read) => read,
        Err(_) => Err(format!("no end of reading within {} s", READING.as_secs())),
    };
    let judged = match read {
        Ok(Ok((settings, view))) => match judge(reloads.started(), &settings) {
            None => {
                registry::install(gateway, view);
                Ok(settings)
            }
            Some(problem) => Err(vec![problem]),
        },
        Ok(Err(error)) => Err(error.problems.iter().map(ToString::to_string).collect()),
        Err(error) => Err(vec![format!("configuration: could not be read: {error}")]),
    };
    Some(conclude(gateway, trigger, judged))
}

/// Puts settings in force that have been judged, and tells which options wait for the next start. For who has the turn.
pub(crate) fn put_in_force(gateway: &Gateway, settings: Settings) -> Vec<&'static str> {
    let needs_restart = takes_restart(gateway.reloads.started(), &settings);
    gateway.reload(settings);
    let generation = {
        let mut book = gateway.reloads.lock();
        book.generation += 1;
        book.applied_at = gateway.clock.now();
        book.needs_restart.clone_from(&needs_restart);
        book.generation
    };
    gateway.tell_configuration(generation);
    gateway.reloads.settled.notify_one();
    needs_restart
}

fn conclude(gateway: &Gateway, trigger: Trigger, judged: Result<Settings, Vec<String>>) -> Reload {
    let at = gateway.clock.now();
    let (problems, applied) = match judged {
        Ok(settings) => (Vec::new(), Some(settings)),
        Err(problems) => (problems, None),
    };
    let reload = Reload { at, trigger, problems };
    if let Some(settings) = applied {
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        for option in put_in_force(gateway, settings) {
            tracing::warn!(option, "the new value takes effect at the next start");
        }
    }
    let generation = {
        let mut book = gateway.reloads.lock();
        book.last = Some(reload.clone());
        book.generation
    };
    gateway.metrics.reload(reload.outcome());
    let reloaded = Reloaded {
        trigger: trigger.name(),
        outcome: reload.outcome(),
        generation,
        problems: reload.problems.clone(),
    };
    gateway.pool.events().tell(at, What::Reload(reloaded));
    if reload.problems.is_empty() {
        tracing::info!(trigger = trigger.name(), generation, "configuration reloaded");
    } else {
        let problems = reload.problems.join("; ");
        tracing::error!(
            trigger = trigger.name(),
            generation,
            %problems,
            "configuration rejected, the last good one stays in force"
        );
    }
    reload
}

/// Does `work` on a thread of its own: reading a file may hang (a dead network mount), while this thread has signals to hear
/// and the process must end without it, as it would not with one of the runtime's own.
async fn on_its_own_thread<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, String> {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("headgate-reload".to_owned())
        .spawn(move || done.send(work()))
        .map_err(|error| error.to_string())?;
    result.await.map_err(|_| "reading it failed".to_owned())
}

fn has_keys(settings: &Settings) -> bool {
    settings.backends.iter().any(|backend| !backend.keys.is_empty())
}

/// What is no file gives its text once, or none at all; an empty file is one that somebody is about to write again: taken at its
/// word it would switch everything off.
fn not_to_be_read(files: &[PathBuf]) -> Option<Problem> {
    let text = |file: &PathBuf| {
        let kind = std::fs::metadata(file).ok()?.file_type();
        if !kind.is_file() && !kind.is_dir() {
            return Some("is not a file that can be read again, restart for another configuration");
        }
        let is_empty = std::fs::read(file).is_ok_and(|bytes| bytes.trim_ascii().is_empty());
        is_empty.then_some("is empty, expected a configuration")
    };
    files.iter().find_map(|file| Some(Problem::new(file.display().to_string(), text(file)?)))
}

/// What is sound for a new process but not for this one, whose listeners stay where they are.
pub(crate) fn judge(started: &Settings, new: &Settings) -> Option<String> {
    let open = new.auth.tenants == TenantAuth::Required && new.tenants.is_empty();
    let on_network = !started.server.listen.ip().to_canonical().is_loopback();
    (open && on_network).then(|| {
        format!(
            "tenants: there are none, but this process still listens on {}, which is on the network; restart it for \
             another server.listen",
            started.server.listen
        )
    })
}

/// The options that differ and that only a new process can change.
fn takes_restart(started: &Settings, new: &Settings) -> Vec<&'static str> {
    let (old, new_server) = (&started.server, &new.server);
    let tls = |server: &config::checked::Server, admin: bool| {
        let tls = if admin { &server.admin_tls } else { &server.tls };
        tls.as_ref().map(|tls| (tls.cert_pem.clone(), tls.key_pem.clone()))
    };
    let same_tls = |admin| match (tls(old, admin), tls(new_server, admin)) {
        (None, None) => true,
        (Some((cert, key)), Some((new_cert, new_key))) => {
            cert == new_cert && key.expose() == new_key.expose()
        }
        (None, Some(_)) | (Some(_), None) => false,
    };
    [
        ("server.listen", old.listen == new_server.listen),
        ("server.admin_listen", old.admin_listen == new_server.admin_listen),
        ("server.workers", old.workers == new_server.workers),
        ("server.drain_timeout_s", old.drain_timeout == new_server.drain_timeout),
        ("server.tls", same_tls(false)),
        ("server.admin_tls", same_tls(true)),
        ("deadlines.write_stall_ms", started.deadlines.write_stall == new.deadlines.write_stall),
        ("store.url", started.store.url.expose() == new.store.url.expose()),
        ("store.timeout_ms", started.store.timeout == new.store.timeout),
        ("store.idempotency_s", started.store.idempotency == new.store.idempotency),
        ("usage", started.usage == new.usage),
        ("log", started.log == new.log),
    ]
    .into_iter()
    .filter_map(|(option, same)| (!same).then_some(option))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(yaml: &str) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headgate.yaml");
        std::fs::write(&file, yaml).unwrap();
        let environment = Environment::from_iter([("KEY", "sk-0123456789-abcdefghij-klmnop")]);
        config::load(&[file], &environment).unwrap()
    }

    #[test]
    fn what_only_a_new_process_can_change_is_named_and_the_rest_is_not() {
        let started = settings("backends: []");
        let same = settings("{ backends: [], relay: { max_attempts: 2 }, server: { drain_delay_s: 1 } }");
        assert!(takes_restart(&started, &same).is_empty());
        let other = settings(
            "{ backends: [], server: { listen: '127.0.0.1:1', drain_timeout_s: 5, workers: 900 }, store: { url: 'sqlite://b', timeout_ms: 9999, idempotency_s: 9 }, usage: { flush_ms: 90 }, log: { level: debug } }",
        );
        let named = [
            "server.listen",
            "server.workers",
            "server.drain_timeout_s",
            "store.url",
            "store.timeout_ms",
            "store.idempotency_s",
            "usage",
            "log",
        ];
        assert_eq!(takes_restart(&started, &other), named);
    }

    #[test]
    fn a_listener_that_stays_on_the_network_is_never_left_open() {
        let tenants = "tenants: [ { name: a, key: 'env:KEY' } ]";
        let started = settings(&format!("{{ backends: [], server: {{ listen: '0.0.0.0:0' }}, {tenants} }}"));
        let loopback = settings("{ backends: [], server: { listen: '127.0.0.1:0' } }");
        assert!(judge(&started, &loopback).unwrap().starts_with("tenants: there are none"));
        assert_eq!(judge(&loopback, &loopback), None);
        assert_eq!(judge(&started, &settings(&format!("{{ backends: [], {tenants} }}"))), None);
    }
}
