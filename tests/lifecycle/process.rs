//! The real binary with a configuration of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::wire::{DEADLINE, Wire, send, until};

pub const TOKEN: &str = "admin-0123456789-abcdefghijkl";

/// A running gateway. Dropping it kills it.
pub struct Process {
    child: Child,
    pub data: SocketAddr,
    pub admin: SocketAddr,
    pub log: Arc<Mutex<Vec<Value>>>,
    pub folder: TempDir,
}

/// The configuration of a gateway over `upstream` with these keys.
pub fn config(upstream: &str, keys: &[&str], server: &str) -> String {
    let keys: Vec<String> =
        keys.iter().map(|key| format!("{{ name: {key}, secret: 'value:sk-ant-api03-sim-{key}' }}")).collect();
    format!(
        "server: {{ listen: '127.0.0.1:0', admin_listen: '127.0.0.1:0', workers: 2, reload_debounce_ms: 50, {server} }}\n\
         auth: {{ admin_tokens: [ {{ name: ops, token: 'value:{TOKEN}', role: admin }} ] }}\n\
         backends: [ {{ name: a, provider: anthropic, base_url: '{upstream}', keys: [ {} ] }} ]\n",
        keys.join(", ")
    )
}

/// Writes a new version of the configuration as Kubernetes does: a new directory, then one link renamed over the other.
pub fn publish(folder: &Path, version: &str, yaml: &str) -> PathBuf {
    let fresh = folder.join(format!("..{version}"));
    std::fs::create_dir(&fresh).unwrap();
    std::fs::write(fresh.join("headgate.yaml"), yaml).unwrap();
    symlink(format!("..{version}"), folder.join("..data_tmp")).unwrap();
    let old = std::fs::read_link(folder.join("..data")).ok();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    let file = folder.join("headgate.yaml");
    if !file.is_symlink() {
        symlink("..data/headgate.yaml", &file).unwrap();
    }
    if let Some(old) = old {
        std::fs::remove_dir_all(folder.join(old)).unwrap();
    }
    file
}

impl Process {
    pub async fn start(yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = publish(folder.path(), "0", yaml);
        let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
        command.args(["serve", "--config"]).arg(file);
        Self::run(command, folder).await
    }

    pub async fn run(mut command: Command, folder: TempDir) -> Self {
        command.current_dir(folder.path());
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log: Arc<Mutex<Vec<Value>>> = Arc::default();
        let written = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                written.lock().unwrap().push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let place = ([127, 0, 0, 1], 0).into();
        let mut process = Self { child, data: place, admin: place, log, folder };
        until("listening", || async { process.said("listening").is_some() }).await;
        let line = process.said("listening").unwrap();
        process.data = line["data"].as_str().unwrap().parse().unwrap();
        process.admin = line["admin"].as_str().unwrap().parse().unwrap();
        process
    }

    /// The last line of the log with this message.
    pub fn said(&self, message: &str) -> Option<Value> {
        self.log.lock().unwrap().iter().rev().find(|line| line["message"] == message).cloned()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub fn publish(&self, version: &str, yaml: &str) {
        publish(self.folder.path(), version, yaml);
    }

    pub async fn admin(&self, method: &str, path: &str, body: &str) -> Wire {
        send(self.admin, method, path, &[("authorization", &format!("Bearer {TOKEN}"))], body).await
    }

    pub async fn status(&self) -> Value {
        self.admin("GET", "/admin/v1/status", "").await.json()
    }

    pub async fn generation(&self) -> u64 {
        self.status().await["config_generation"].as_u64().unwrap()
    }

    /// Waits for the end: how, and how long it took.
    #[allow(clippy::disallowed_methods, reason = "a test of a process waits by the real clock")]
    pub async fn ended(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, start.elapsed());
            }
            assert!(start.elapsed() < DEADLINE, "it does not end: {:?}", self.log.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let gone = self.child.kill().and_then(|()| self.child.wait());
        assert!(gone.is_ok() || std::thread::panicking());
    }
}
