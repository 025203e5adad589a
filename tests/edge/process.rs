//! The program itself as a process: exit codes, signals, what it prints.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use headgate::simulator::SimulatorConfig;
use serde_json::Value;

use super::caller::{Connection, message};
use super::stand::{DEADLINE, Upstream, backend, until};

/// A gateway in a process of its own.
pub struct Process {
    pub data: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Process {
    /// Starts one; its ports are its own choice.
    pub fn start(yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = "server: { listen: '127.0.0.1:0', admin_listen: '127.0.0.1:0' }\nlog: { format: json }\n";
        std::fs::write(folder.path().join("base.yaml"), base).unwrap();
        std::fs::write(folder.path().join("test.yaml"), yaml).unwrap();
        let mut command = command();
        command.arg("serve").current_dir(folder.path());
        for file in ["base.yaml", "test.yaml"] {
            command.arg("--config").arg(folder.path().join(file));
        }
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = mpsc::channel();
        let book = lines.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let json: Value = serde_json::from_str(&line).unwrap_or_default();
                if json["message"] == "listening" {
                    let address = |name: &str| json[name].as_str().unwrap().parse::<SocketAddr>().unwrap();
                    tell.send((address("data"), address("admin"))).unwrap();
                }
                book.lock().unwrap().push(line);
            }
        });
        let addresses = told.recv_timeout(DEADLINE);
        let (data, admin) =
            addresses.unwrap_or_else(|_| panic!("it never listened: {:?}", lines.lock().unwrap()));
        Self { data, admin, child, lines, _folder: folder }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "it never ended: {:?}", self.lines.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Resident memory, bytes.
    pub fn resident(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }

    /// The records of its requests.
    pub fn records(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        let records = lines.iter().filter(|line| line.contains("headgate::request"));
        records.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn run(arguments: &[&str], yaml: &str, variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headgate.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut command = command();
    command
        .current_dir(folder.path())
        .args(arguments)
        .arg("--config")
        .arg(file)
        .envs(variables.iter().copied());
    command.output().unwrap()
}

#[test]
fn a_bad_configuration_ends_with_78_and_names_the_option() {
    for (yaml, option) in [
        ("server: { listne: '127.0.0.1:0' }", "server.listne"),
        ("relay: { max_attempts: 0 }", "relay.max_attempts"),
        (
            "backends: [{ name: a, provider: anthropic, keys: [{ name: k, secret: 'env:NOT_SET' }] }]",
            "backends[0].keys[0].secret",
        ),
        ("server: { listen: '0.0.0.0:0' }", "server.listen"),
        ("backends: [", "headgate.yaml"),
    ] {
        for arguments in [&["serve"][..], &["check"][..]] {
            let output = run(arguments, yaml, &[]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(78), "{arguments:?} {yaml}: {said}");
            assert!(said.contains(option), "{said} does not name {option}");
        }
    }
    let unknown = command().arg("--bogus").output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn check_prints_what_takes_effect_without_secrets() {
    let yaml = "
backends:
  - name: a
    provider: anthropic
    proxy: 'env:PROXY'
    headers: { x-team: 'value:header-secret' }
    keys: [{ name: k1, secret: 'env:KEY_ONE' }, { name: k2, secret: 'value:written-out-secret' }]
tenants: [{ name: acme, key: 'env:ACME' }]
";
    let variables = [
        ("KEY_ONE", "sk-from-environment"),
        ("ACME", "tenant-secret"),
        ("PROXY", "http://u:proxy-secret@p:3128"),
    ];
    let output = run(&["check"], yaml, &variables);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    for secret in
        ["sk-from-environment", "written-out-secret", "tenant-secret", "proxy-secret", "header-secret"]
    {
        assert!(!all.contains(secret), "{secret} is printed: {all}");
    }
    for part in ["k1", "k2", "acme", "max_wait_ms"] {
        assert!(printed.contains(part), "{part} is missing: {printed}");
    }
}

#[test]
fn an_address_that_is_taken_ends_with_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen =
        format!("server: {{ listen: '{}', admin_listen: '127.0.0.1:0' }}", taken.local_addr().unwrap());
    let output = run(&["serve"], &listen, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!output.stderr.is_empty());
}

fn over(upstream: &Upstream, yaml: &str) -> String {
    format!("backends:\n{}{yaml}", backend("sim", &upstream.url(), &SimulatorConfig::default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_and_loses_no_stream() {
    let upstream = Upstream::start(SimulatorConfig::default());
    let drain = "server: { listen: '127.0.0.1:0', admin_listen: '127.0.0.1:0', drain_delay_s: 1, drain_timeout_s: 20 }";
    let mut process = Process::start(&over(&upstream, drain));
    let mut caller = Connection::to(process.data).await;
    caller.send(message("[[sim:events=60,pace_ms=50]]", true).as_bytes()).await;
    let mut answer = caller.head().await.unwrap();
    caller.body(&mut answer, |answer| answer.count("content_block_delta") >= 1).await;
    process.signal("TERM");
    let admin = process.admin;
    until("/readyz says so", async || {
        Connection::to(admin).await.ask("GET /readyz HTTP/1.1\r\nhost: g\r\n\r\n").await.status == 503
    })
    .await;
    let late = Connection::to(process.data).await.ask(&message("hi", false)).await;
    assert_eq!(late.status, 200, "requests are served for the delay");
    caller.body(&mut answer, |_| false).await;
    assert!(answer.is_whole_stream() && answer.count("content_block_delta") == 60, "{}", answer.text());
    assert_eq!(process.ended().await.code(), Some(0));
    let outcomes: Vec<Value> = process.records().iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes, ["ok", "ok"], "{}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_ends_an_idle_gateway_at_once() {
    let mut process = Process::start("backends: []");
    let asked = Instant::now();
    process.signal("INT");
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_and_no_content_is_logged() {
    let upstream = Upstream::start(SimulatorConfig::default());
    let yaml = "log: { format: json, level: trace }\ntenants: [{ name: acme, key: 'value:tenant-secret' }]";
    let process = Process::start(&over(&upstream, yaml));
    let body = super::caller::prompt("claude-sonnet-5", "private words", true);
    for key in ["tenant-secret", "wrong-secret"] {
        let asked = super::caller::post("/v1/messages", &format!("x-api-key: {key}\r\n"), &body);
        drop(Connection::to(process.data).await.ask(&asked).await);
    }
    upstream.fail(headgate::simulator::Fault::new(headgate::simulator::FaultKind::InvalidKey));
    let asked = super::caller::post("/v1/messages", "x-api-key: tenant-secret\r\n", &body);
    Connection::to(process.data).await.ask(&asked).await.assert_error(503, "api_error");
    until("all are recorded", async || process.records().len() == 3).await;
    let log = process.log();
    for secret in ["sk-ant-api03", "tenant-secret", "wrong-secret", "private words"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} is logged: {line:?}");
    }
}
