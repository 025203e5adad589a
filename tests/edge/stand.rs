//! A gateway over a simulated upstream, both in this process: the simulator on a runtime of its own, the gateway on a
//! thread of its own.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headgate::chance::Chance;
use headgate::clock::Clock;
use headgate::config::{self, Environment};
use headgate::gateway::Gateway;
use headgate::http;
use headgate::simulator::{
    Control, Fault, FaultKind, Knobs, RunningSimulator, Simulator, SimulatorConfig, Stats,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::caller::{Answer, Connection};

/// Everything that is waited for comes within this time, or the test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A running gateway.
pub struct Running {
    pub data: SocketAddr,
    pub admin: SocketAddr,
    pub gateway: Arc<Gateway>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Starts one with this configuration over the defaults of the tests.
    pub fn start(yaml: &str) -> Self {
        Self::start_with(yaml, |_| {})
    }

    /// The same, with more files in its folder.
    pub fn start_with(yaml: &str, prepare: impl FnOnce(&std::path::Path)) -> Self {
        Self::start_in(yaml, prepare, [])
    }

    /// The same, in this environment.
    pub fn start_in(
        yaml: &str,
        prepare: impl FnOnce(&std::path::Path),
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let files = [folder.path().join("base.yaml"), folder.path().join("test.yaml")];
        std::fs::write(&files[0], BASE).unwrap();
        std::fs::write(&files[1], yaml).unwrap();
        let environment: Environment = variables.into_iter().collect();
        let settings = config::load(&files, &environment).unwrap_or_else(|error| panic!("{error}"));
        super::log::start();
        let stop = CancellationToken::new();
        let (tell, told) = mpsc::channel();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            http::block_on(async move {
                let gateway = Arc::new(Gateway::new(settings, Clock::machine(), Chance::machine()).unwrap());
                let servers = http::bind(&gateway).unwrap();
                let (data, admin) = (servers.data.handle(), servers.admin.handle());
                let running = [http::spawn(servers.data), http::spawn(servers.admin)];
                tell.send((servers.data_address, servers.admin_address, gateway)).unwrap();
                stopped.cancelled().await;
                data.stop(false).await;
                admin.stop(false).await;
                for server in running {
                    server.await.unwrap().unwrap();
                }
            });
        });
        let (data, admin, gateway) = told.recv().unwrap();
        Self { data, admin, gateway, stop, thread: Some(thread), _folder: folder }
    }

    /// A new connection of a caller.
    pub async fn connect(&self) -> Connection {
        Connection::to(self.data).await
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, request: &str) -> Answer {
        let mut connection = self.connect().await;
        connection.send(request.as_bytes()).await;
        connection.answer().await
    }

    /// A `GET` of the admin plane.
    pub async fn admin(&self, path: &str) -> Answer {
        let mut connection = Connection::to(self.admin).await;
        connection.send(format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n").as_bytes()).await;
        connection.answer().await
    }

    /// The sum of a metric over all its lines that hold `part`.
    pub async fn metric(&self, name: &str, part: &str) -> f64 {
        let text = self.admin("/metrics").await.text();
        let named = |line: &&str| {
            let rest = line.strip_prefix("headgate_").and_then(|line| line.strip_prefix(name));
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(part))
        };
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        text.lines().filter(named).map(value).sum()
    }

    /// Waits until no key has a request under way and nothing waits.
    pub async fn idle(&self) {
        until("the gateway is idle", async || {
            self.metric("key_in_flight", "").await == 0.0 && self.metric("queue_depth", "").await == 0.0
        })
        .await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().expect("the gateway's thread panicked");
        }
    }
}

const BASE: &str = "
server: { listen: '127.0.0.1:0', admin_listen: '127.0.0.1:0', workers: 1, drain_timeout_s: 1 }
auth: { admin_tokens: [] }
relay: { expose_key_names: true }
";

/// A simulated upstream on a runtime of its own.
pub struct Upstream {
    pub simulator: RunningSimulator,
    runtime: Option<Runtime>,
}

impl Upstream {
    /// Starts one.
    pub fn start(config: SimulatorConfig) -> Self {
        let runtime = runtime();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let handle = runtime.handle().clone();
        let simulator =
            std::thread::spawn(move || handle.block_on(Simulator::start(config, listen)).unwrap());
        Self { simulator: simulator.join().unwrap(), runtime: Some(runtime) }
    }

    /// Starts one that speaks TLS.
    pub fn start_tls(config: SimulatorConfig, tls: tokio_rustls::TlsAcceptor) -> Self {
        let runtime = runtime();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let handle = runtime.handle().clone();
        let simulator =
            std::thread::spawn(move || handle.block_on(Simulator::start_tls(config, listen, tls)).unwrap());
        Self { simulator: simulator.join().unwrap(), runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        self.simulator.url()
    }

    pub fn control(&self) -> Control {
        self.simulator.control()
    }

    /// Waits until what it counted is as wanted.
    pub async fn until(&self, what: &str, reached: impl Fn(&Stats) -> bool) -> Stats {
        until(what, async || reached(&self.simulator.stats())).await;
        self.simulator.stats()
    }

    /// One fault for every request of every key.
    pub fn fail(&self, fault: Fault) {
        self.control().set_faults(vec![fault.into()]);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.simulator.stop();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A gateway and its one simulated upstream.
pub struct Stand {
    pub gateway: Running,
    pub upstream: Upstream,
}

impl Stand {
    /// With all keys of a default simulator, and this configuration over it.
    pub fn new(yaml: &str) -> Self {
        Self::of(SimulatorConfig::default(), yaml)
    }

    /// With all keys of this simulator.
    pub fn of(config: SimulatorConfig, yaml: &str) -> Self {
        let backend = |url: &str| backend("sim", url, &config);
        let upstream = Upstream::start(config.clone());
        let gateway = Running::start(&format!("backends:\n{}{yaml}", backend(&upstream.url())));
        Self { gateway, upstream }
    }
}

/// A backend with all keys of a simulator, as an item of `backends`.
pub fn backend(name: &str, url: &str, config: &SimulatorConfig) -> String {
    let mut text = format!("  - name: {name}\n    provider: anthropic\n    base_url: '{url}'\n    keys:\n");
    let mut groups = String::new();
    for organization in &config.organizations {
        groups.push_str(&format!("      - {{ name: {name}-{} }}\n", organization.name));
        for key in &organization.keys {
            text.push_str(&format!(
                "      - {{ name: {name}-{}, secret: 'value:{}', limit_group: {name}-{} }}\n",
                key.name, key.secret, organization.name
            ));
        }
    }
    text + "    limit_groups:\n" + &groups
}

/// Polls until `reached`.
pub async fn until(what: &str, reached: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !reached().await {
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A fault with knobs.
pub fn fault(kind: FaultKind, knobs: Knobs) -> Fault {
    Fault { kind, knobs }
}

/// A fault after so many events.
pub fn after(kind: FaultKind, events: usize) -> Fault {
    fault(kind, Knobs { after_events: Some(events), ..Knobs::default() })
}
