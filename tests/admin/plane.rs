//! A gateway in this process over a simulator in this process, with its admin plane.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use headgate::chance::Chance;
use headgate::clock::Clock;
use headgate::config::Environment;
use headgate::gateway::Gateway;
use headgate::http;
use headgate::reload::Source;
use headgate::simulator::{RunningSimulator, Simulator, SimulatorConfig};
use serde_json::Value;
use tempfile::TempDir;

use crate::wire::{Wire, ask, send};

pub const ADMIN: &str = "admin-0123456789-abcdefghijkl";
pub const OPERATOR: &str = "operator-0123456789-abcdefghi";
pub const VIEWER: &str = "viewer-0123456789-abcdefghijk";

/// The tokens of all three roles.
pub fn tokens() -> String {
    format!(
        "auth: {{ admin_failures_per_minute: 1000, admin_tokens: [ {{ name: ada, token: 'value:{ADMIN}', role: admin }}, \
         {{ name: olga, token: 'value:{OPERATOR}', role: operator }}, \
         {{ name: vic, token: 'value:{VIEWER}', role: viewer }} ] }}\n"
    )
}

/// A key of the simulator under its own name.
pub fn key(name: &str) -> String {
    format!("{{ name: {name}, secret: 'value:sk-ant-api03-sim-{name}' }}")
}

/// A running plane.
pub struct Plane {
    pub gateway: Arc<Gateway>,
    pub simulator: RunningSimulator,
    pub data: SocketAddr,
    pub admin: SocketAddr,
    file: PathBuf,
    folder: TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Plane {
    /// With these keys in one backend `a`, and `more` YAML.
    pub async fn start(keys: &[&str], more: &str) -> Self {
        let simulator =
            Simulator::start(SimulatorConfig::default(), ([127, 0, 0, 1], 0).into()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headgate.yaml");
        std::fs::write(&file, yaml(&simulator, keys, more)).unwrap();
        let (source, settings) = Source::load(vec![file.clone()], Environment::default()).unwrap();
        let gateway = Arc::new(Gateway::new(settings, Clock::machine(), Chance::seeded(1)).unwrap());
        gateway.reloads.set_source(source);
        let (bound, addresses) = tokio::sync::oneshot::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let served = gateway.clone();
        let thread = std::thread::spawn(move || {
            http::block_on(async move {
                let servers = http::bind(&served).unwrap();
                let (data, admin) = (servers.data.handle(), servers.admin.handle());
                bound.send((servers.data_address, servers.admin_address)).unwrap();
                let running = [http::spawn(servers.data), http::spawn(servers.admin)];
                assert!(stopped.await.is_ok() || std::thread::panicking());
                data.stop(false).await;
                admin.stop(false).await;
                for server in running {
                    server.await.unwrap().unwrap();
                }
            });
        });
        let (data, admin) = addresses.await.unwrap();
        Self { gateway, simulator, data, admin, file, folder, stop: Some(stop), thread: Some(thread) }
    }

    /// Reloads with other keys and `more`.
    pub async fn reload(&self, keys: &[&str], more: &str) -> Value {
        std::fs::write(&self.file, yaml(&self.simulator, keys, more)).unwrap();
        assert!(self.folder.path().exists());
        self.admin("POST", "/reload", "").await.json()
    }

    /// Asks the admin API as an admin.
    pub async fn admin(&self, method: &str, path: &str, body: &str) -> Wire {
        self.with(ADMIN, method, path, body).await
    }

    /// Asks the admin API with this token.
    pub async fn with(&self, token: &str, method: &str, path: &str, body: &str) -> Wire {
        let path = format!("/admin/v1{path}");
        send(self.admin, method, &path, &[("authorization", &format!("Bearer {token}"))], body).await
    }

    /// One key as the admin API shows it.
    pub async fn key(&self, name: &str) -> Value {
        self.admin("GET", &format!("/keys/{name}"), "").await.json()
    }

    /// The status of one Messages request.
    pub async fn ask(&self) -> u16 {
        ask(self.data, "hi", false).await.end().await.status()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let told = self.stop.take().map(|stop| stop.send(()));
        let ended = self.thread.take().map(|thread| thread.join().is_ok());
        assert!((told == Some(Ok(())) && ended == Some(true)) || std::thread::panicking());
    }
}

fn yaml(simulator: &RunningSimulator, keys: &[&str], more: &str) -> String {
    let keys: Vec<String> =
        keys.iter().map(|name| if name.starts_with('{') { (*name).to_owned() } else { key(name) }).collect();
    let listen =
        if more.contains("listen") { "" } else { "listen: '127.0.0.1:0', admin_listen: '127.0.0.1:0', " };
    let (server, more) =
        more.strip_prefix("server: ").map_or(("", more), |more| more.split_once('\n').unwrap());
    format!(
        "server: {{ {listen} {server} workers: 1 }}\n{more}\nbackends: [ {{ name: a, provider: anthropic, base_url: '{}', keys: [ {} ] }} ]\n",
        simulator.url(),
        keys.join(", ")
    )
}
