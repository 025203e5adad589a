//! A gateway in this process over a simulator in this process, with its admin plane.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use headgate::chance::Chance;
use headgate::clock::Clock;
use headgate::config::Environment;
use headgate::gateway::Gateway;
use headgate::http;
use headgate::registry;
use headgate::reload::Source;
use headgate::simulator::{RunningSimulator, Simulator, SimulatorConfig};
use headgate::store::{Store, StoreAddress};
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

/// A master key.
pub const MASTER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What lets the admin API store: a file in the plane's folder, and a master key.
pub fn storing(master: Option<&str>) -> String {
    let key = master.map(|key| format!(", master_key: 'value:{key}'")).unwrap_or_default();
    format!("store: {{ url: 'sqlite://FOLDER/headgate.db'{key} }}\n")
}

/// A running plane.
pub struct Plane {
    pub gateway: Arc<Gateway>,
    pub simulator: Arc<RunningSimulator>,
    pub data: SocketAddr,
    pub admin: SocketAddr,
    file: PathBuf,
    pub folder: Arc<TempDir>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Plane {
    /// With these keys in one backend `a`, and `more` YAML.
    pub async fn start(keys: &[&str], more: &str) -> Self {
        let simulator =
            Simulator::start(SimulatorConfig::default(), ([127, 0, 0, 1], 0).into()).await.unwrap();
        Self::over(Arc::new(simulator), Arc::new(tempfile::tempdir().unwrap()), keys, more).await
    }

    /// The same with a store and a master key, where backends may be anywhere.
    pub async fn stored(keys: &[&str]) -> Self {
        Self::start(
            keys,
            &format!("server: allow_private_upstreams: true,\n{}{}", tokens(), storing(Some(MASTER))),
        )
        .await
    }

    /// Another process over the same store and the same upstream.
    pub async fn again(self, keys: &[&str], more: &str) -> Self {
        let (simulator, folder) = (self.simulator.clone(), self.folder.clone());
        drop(self);
        Self::over(simulator, folder, keys, more).await
    }

    async fn over(simulator: Arc<RunningSimulator>, folder: Arc<TempDir>, keys: &[&str], more: &str) -> Self {
        let file = folder.path().join("headgate.yaml");
        let more = more.replace("FOLDER", folder.path().to_str().unwrap());
        std::fs::write(&file, yaml(&simulator, keys, &more)).unwrap();
        let (source, settings) = Source::load(vec![file.clone()], Environment::default()).unwrap();
        let gateway = Arc::new(Gateway::new(settings, Clock::machine(), Chance::seeded(1)).unwrap());
        gateway.reloads.set_source(source);
        if more.contains("store: ") {
            let address = StoreAddress::of(&gateway.settings().store).unwrap();
            registry::start(&gateway, Store::open(&address).await.unwrap()).await.unwrap();
        }
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

    /// Asks as an admin, with more headers.
    pub async fn headed(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Wire {
        let token = format!("Bearer {ADMIN}");
        let mut all = vec![("authorization", token.as_str())];
        all.extend(headers);
        send(self.admin, method, &format!("/admin/v1{path}"), &all, body).await
    }

    /// Asks as an admin with a JSON body, and expects this status.
    pub async fn expect(&self, status: u16, method: &str, path: &str, body: Value) -> Value {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let wire = self.admin(method, path, &text).await;
        assert_eq!(wire.status(), status, "{method} {path} {text}: {wire:?}");
        wire.json()
    }

    /// The status of one Messages request with this client key.
    pub async fn ask_as(&self, key: &str) -> u16 {
        let headers =
            [("content-type", "application/json"), ("anthropic-version", "2023-06-01"), ("x-api-key", key)];
        send(self.data, "POST", "/v1/messages", &headers, &crate::wire::prompt("hi", false)).await.status()
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
