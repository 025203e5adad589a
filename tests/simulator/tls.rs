//! The same over TLS, where a missing `close_notify` tells a cut from an end.

use std::io::ErrorKind;
use std::sync::Arc;

use headgate::simulator::{Fault, FaultKind, RunningSimulator, Simulator, SimulatorConfig};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::wire::*;

async fn ask_over_tls(kind: FaultKind) -> Wire {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let server =
        server.unwrap().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();

    let tls = TlsAcceptor::from(Arc::new(server));
    let listen = ([127, 0, 0, 1], 0).into();
    let simulator: RunningSimulator =
        Simulator::start_tls(SimulatorConfig::default(), listen, tls).await.unwrap();
    simulator.control().set_faults(vec![Fault::new(kind).into()]);
    let tcp = TcpStream::connect(simulator.addr()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, tcp).await.unwrap();
    stream.write_all(request("POST", "/v1/messages", KEY, &prompt("hi", true)).as_bytes()).await.unwrap();
    read(&mut stream, |_| false).await
}

#[tokio::test]
async fn a_bare_fin_lacks_close_notify_and_an_orderly_close_has_it() {
    let fin = ask_over_tls(FaultKind::Fin).await;
    assert_eq!((fin.events().len(), fin.end), (4, Some(ErrorKind::UnexpectedEof)));
    let close = ask_over_tls(FaultKind::Close).await;
    assert_eq!((close.events().len(), close.end), (4, None));
    let reset = ask_over_tls(FaultKind::Reset).await;
    assert_eq!((reset.events().len(), reset.end), (4, Some(ErrorKind::ConnectionReset)));
}
