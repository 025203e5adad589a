//! TLS on both sides, HTTP/2 callers, and tunnels through a proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headgate::simulator::{FaultKind, SimulatorConfig};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::caller::{Connection, message};
use super::stand::{Running, Upstream, after, backend};

/// A certificate for `name`, as PEM, with its key.
struct Paper {
    cert: String,
    key: String,
    made: rcgen::CertifiedKey<rcgen::KeyPair>,
}

fn paper(name: &str) -> Paper {
    headgate::http::tls::install();
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    Paper { cert: made.cert.pem(), key: made.signing_key.serialize_pem(), made }
}

fn acceptor(paper: &Paper) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(paper.made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![paper.made.cert.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn trusting(paper: &Paper, protocols: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(paper.made.cert.der().clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

fn listener_files(paper: &Paper) -> impl FnOnce(&Path) + use<> {
    let (cert, key) = (paper.cert.clone(), paper.key.clone());
    move |folder| {
        std::fs::write(folder.join("cert.pem"), cert).unwrap();
        std::fs::write(folder.join("key.pem"), key).unwrap();
    }
}

const LISTENER: &str = "server: { tls: { cert: 'file:cert.pem', key: 'file:key.pem' }, admin_tls: { cert: 'file:cert.pem', key: 'file:key.pem' } }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_come_over_tls() {
    let config = SimulatorConfig::default();
    let upstream = Upstream::start(config.clone());
    let paper = paper("localhost");
    let yaml = format!("backends:\n{}{LISTENER}", backend("sim", &upstream.url(), &config));
    let gateway = Running::start_with(&yaml, listener_files(&paper));
    let connector = TlsConnector::from(Arc::new(trusting(&paper, &[b"http/1.1"])));
    for address in [gateway.data, gateway.admin] {
        let tcp = TcpStream::connect(address).await.unwrap();
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut caller = Connection::over(stream);
        assert_eq!(caller.ask("GET /healthz HTTP/1.1\r\nhost: g\r\n\r\n").await.status, 200);
        if address == gateway.data {
            assert!(caller.ask(&message("hi", true)).await.is_whole_stream());
            assert_eq!(caller.ask(&message("hi", false)).await.json()["type"], "message");
        }
    }
    let mut plain = gateway.connect().await;
    plain.send(message("hi", false).as_bytes()).await;
    assert!(plain.head().await.is_none_or(|head| head.status != 200), "TLS was not asked for");
    assert_eq!(upstream.simulator.stats().requests, 2);
}

#[test]
fn callers_come_over_http_2() {
    let config = SimulatorConfig::default();
    let upstream = Upstream::start(config.clone());
    let paper = paper("localhost");
    let yaml = format!("backends:\n{}{LISTENER}", backend("sim", &upstream.url(), &config));
    let gateway = Running::start_with(&yaml, listener_files(&paper));
    let tls = trusting(&paper, &[b"h2"]);
    let url = format!("https://localhost:{}/v1/messages", gateway.data.port());
    headgate::http::block_on(async move {
        let connector = awc::Connector::new().rustls_0_23(Arc::new(tls));
        let client = awc::Client::builder().connector(connector).disable_redirects().finish();
        let body = |text: &str, stream: bool| super::caller::prompt("claude-sonnet-5", text, stream);
        let post = |text: &str, stream| {
            client
                .post(&url)
                .insert_header(("anthropic-version", "2023-06-01"))
                .insert_header(("content-type", "application/json"))
                .send_body(body(text, stream))
        };
        let mut whole = post("hi", false).await.unwrap();
        assert_eq!((whole.status().as_u16(), whole.version()), (200, awc::http::Version::HTTP_2));
        assert!(whole.headers().contains_key("request-id"));
        let json: serde_json::Value = serde_json::from_slice(&whole.body().await.unwrap()).unwrap();
        assert_eq!(json["type"], "message");
        let mut streamed = post("[[sim:events=50]]", true).await.unwrap();
        let text = String::from_utf8(streamed.body().limit(1 << 20).await.unwrap().to_vec()).unwrap();
        assert_eq!(text.matches("event: content_block_delta").count(), 50);
        assert!(text.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{text}");
        let mut large = post(&"x".repeat(3 << 20), false).await.unwrap();
        assert_eq!(large.status().as_u16(), 200);
        drop(large.body().await.unwrap());
        let mut refused = client.get(&url).send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 405);
        assert!(refused.body().await.unwrap().starts_with(b"{\"type\":\"error\""));
        // The caller leaves in the middle of its stream; the connection lives on.
        let left = post("[[sim:events=2000,pace_ms=10]]", true).await.unwrap();
        drop(left);
        let gone = async || upstream.simulator.stats().in_flight == 0;
        super::stand::until("upstream is closed", gone).await;
        assert_eq!(post("hi", false).await.unwrap().status().as_u16(), 200);
    });
}

/// A gateway over a TLS upstream that it trusts by `ca_file`.
fn over_tls(upstream: &Upstream, paper: &Paper, host: &str, more: &str, yaml: &str) -> Running {
    let ca = paper.cert.clone();
    let url = format!("https://{host}:{}", upstream.simulator.addr().port());
    let backend = backend("tls", &url, &SimulatorConfig::default());
    let yaml = format!("backends:\n{backend}    ca_file: ca.pem\n{more}{yaml}");
    Running::start_with(&yaml, move |folder| std::fs::write(folder.join("ca.pem"), ca).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_over_tls_is_trusted_by_its_ca_alone() {
    let paper = paper("localhost");
    let upstream = Upstream::start_tls(SimulatorConfig::default(), acceptor(&paper));
    let gateway = over_tls(&upstream, &paper, "localhost", "", "");
    let mut caller = gateway.connect().await;
    for number in 0..10 {
        assert_eq!(caller.ask(&message("hi", number % 2 == 0)).await.status, 200);
    }
    assert_eq!(upstream.simulator.stats().connections_accepted, 1, "TLS connections are used again");
    let large = message(&"x".repeat(5 << 20), false);
    assert_eq!(caller.ask(&large).await.status, 200);

    let stranger = self::paper("localhost");
    let gateway = over_tls(&upstream, &stranger, "localhost", "", "relay: { max_attempts: 1 }");
    gateway.ask(&message("hi", false)).await.assert_error(502, "api_error");
    let gateway = over_tls(&upstream, &paper, "127.0.0.1", "", "relay: { max_attempts: 1 }");
    gateway.ask(&message("hi", false)).await.assert_error(502, "api_error");
    assert_eq!(upstream.simulator.stats().requests, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_over_tls_is_a_cut_with_close_notify_or_without() {
    let paper = paper("localhost");
    let upstream = Upstream::start_tls(SimulatorConfig::default(), acceptor(&paper));
    let gateway = over_tls(
        &upstream,
        &paper,
        "localhost",
        "",
        "relay: { max_attempts: 1 }\nbreaker: { consecutive_failures: 1000 }",
    );
    for kind in [FaultKind::Close, FaultKind::Fin, FaultKind::Reset] {
        upstream.fail(after(kind, 2));
        gateway.ask(&message("hi", true)).await.assert_error(502, "api_error");
        upstream.fail(after(kind, 5));
        let told = gateway.ask(&message("hi", true)).await;
        assert_eq!((told.count("error"), told.count("message_stop")), (1, 0), "{kind:?}: {}", told.text());
        assert!(told.complete && told.events().last().unwrap() == "error");
        upstream.fail(headgate::simulator::Fault::new(kind));
        gateway.ask(&message("hi", false)).await.assert_error(502, "api_error");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_https_backend_never_speaks_to_a_plain_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let book = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut piece = vec![0; 64 * 1024];
            let count = stream.read(&mut piece).await.unwrap_or(0);
            book.lock().unwrap().push(piece[..count].to_vec());
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await);
        }
    });
    let gateway = Running::start(&format!(
        "backends: [{{ name: plain, provider: anthropic, base_url: 'https://localhost:{}', \
         keys: [{{ name: k, secret: 'value:very-secret' }}] }}]\nrelay: {{ max_attempts: 3 }}",
        address.port()
    ));
    gateway.ask(&message("private words", false)).await.assert_error(502, "api_error");
    let heard = heard.lock().unwrap().clone();
    assert!(!heard.is_empty());
    for bytes in heard {
        let text = String::from_utf8_lossy(&bytes);
        assert!(bytes.first().is_none_or(|first| *first == 0x16), "no TLS handshake: {text}");
        assert!(!text.contains("secret") && !text.contains("private") && !text.contains("POST"), "{text}");
    }
}

/// A proxy that opens tunnels to one address, whatever is asked, and remembers what it was asked.
async fn proxy(to: Option<SocketAddr>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let book = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = near.read_u8().await else { break };
                head.push(byte);
            }
            book.lock().unwrap().push(String::from_utf8(head).unwrap());
            let Some(to) = to else {
                drop(near.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await);
                continue;
            };
            let mut far = TcpStream::connect(to).await.unwrap();
            near.write_all(b"HTTP/1.1 200 Connection established\r\nx-proxy: 1\r\n\r\n").await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    (address, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configured_proxy_opens_the_tunnel_with_its_credentials() {
    let paper = paper("upstream.test");
    let upstream = Upstream::start_tls(SimulatorConfig::default(), acceptor(&paper));
    let (address, asked) = proxy(Some(upstream.simulator.addr())).await;
    let proxy_line = format!("    proxy: 'value:http://us%20er:pa%3Ass@{address}'\n");
    let gateway = over_tls(&upstream, &paper, "upstream.test", &proxy_line, "");
    let mut caller = gateway.connect().await;
    assert!(caller.ask(&message("hi", true)).await.is_whole_stream());
    assert_eq!(caller.ask(&message("hi", false)).await.status, 200);
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "the tunnel is used again");
    let port = upstream.simulator.addr().port();
    assert!(
        asked[0]
            .starts_with(&format!("CONNECT upstream.test:{port} HTTP/1.1\r\nhost: upstream.test:{port}\r\n"))
    );
    // "us er:pa:ss"
    assert!(asked[0].contains("proxy-authorization: Basic dXMgZXI6cGE6c3M=\r\n"), "{}", asked[0]);
    assert!(!asked[0].contains("sk-ant"));
    let received = upstream.simulator.requests();
    assert!(
        received.iter().all(|request| request.headers.iter().all(|(name, _)| !name.starts_with("proxy-")))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_of_the_environment_is_used_and_a_refusing_one_is_a_failed_connection() {
    let paper = paper("upstream.test");
    let upstream = Upstream::start_tls(SimulatorConfig::default(), acceptor(&paper));
    let (address, asked) = proxy(Some(upstream.simulator.addr())).await;
    let environment = [("HTTPS_PROXY".to_owned(), format!("http://{address}"))];
    let ca = paper.cert.clone();
    let prepare = move |folder: &Path| std::fs::write(folder.join("ca.pem"), ca).unwrap();
    let backend = backend("tls", "https://upstream.test", &SimulatorConfig::default());
    let yaml = format!("backends:\n{backend}    ca_file: ca.pem\n");
    let gateway = Running::start_in(&yaml, prepare, environment);
    assert_eq!(gateway.ask(&message("hi", false)).await.status, 200);
    assert!(asked.lock().unwrap()[0].starts_with("CONNECT upstream.test:443 HTTP/1.1\r\n"));

    let (refusing, asked) = proxy(None).await;
    let line = format!("    proxy: 'value:http://{refusing}'\n");
    let gateway = over_tls(&upstream, &paper, "upstream.test", &line, "relay: { max_attempts: 2 }");
    gateway.ask(&message("hi", false)).await.assert_error(502, "api_error");
    assert_eq!(asked.lock().unwrap().len(), 2);
    assert_eq!(gateway.metric("connects_total", "outcome=\"failed\"").await, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_that_hangs_ends_in_time() {
    // A listener whose queue is full answers no SYN; one that accepts but never shakes hands is as silent.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Running::start(&format!(
        "backends: [{{ name: silent, provider: anthropic, base_url: 'https://localhost:{}', \
         keys: [{{ name: k, secret: 'value:s' }}] }}]\ndeadlines: {{ connect_ms: 200 }}\nrelay: {{ max_attempts: 1 }}",
        silent.local_addr().unwrap().port()
    ));
    let start = std::time::Instant::now();
    gateway.ask(&message("hi", false)).await.assert_error(502, "api_error");
    assert!((Duration::from_millis(190)..Duration::from_secs(2)).contains(&start.elapsed()));
    gateway.idle().await;
}
