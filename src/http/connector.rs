//! Dialling an upstream: DNS, TCP with `TCP_NODELAY`, an optional CONNECT proxy, TLS with HTTP/1.1 only.
//!
//! TLS is done here and awc is given an `http` URI, so that its plain HTTP/1 pool runs over our guarded stream. One connector
//! belongs to one backend: its TLS configuration decides, and a backend that is `https` never reaches a plain socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use actix_web::http::Uri;
use futures_util::future::LocalBoxFuture;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::wire_io::WireIo;
use crate::config::checked::{Backend, BaseUrl, Proxy};
use crate::gateway::Gateway;

/// Why a connection could not be made; travels inside the `io::Error`.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name could not be resolved.
    #[error("the host name cannot be resolved: {0}")]
    Dns(io::Error),
    /// No address accepted.
    #[error("cannot connect: {0}")]
    Tcp(io::Error),
    /// It took too long.
    #[error("connecting took longer than {0:?}")]
    TimedOut(Duration),
    /// The proxy did not open a tunnel.
    #[error("the proxy refused: {0}")]
    Proxy(String),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
}

/// Dials one backend.
#[derive(Clone)]
pub struct Dial(Arc<Target>);

struct Target {
    gateway: Arc<Gateway>,
    backend: String,
    url: BaseUrl,
    proxy: Option<Proxy>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
}

impl Dial {
    /// A dial for `backend` at `url`.
    ///
    /// # Errors
    /// A CA file or host name that TLS cannot use.
    pub fn new(gateway: Arc<Gateway>, backend: &Backend, url: BaseUrl) -> Result<Self, super::tls::TlsError> {
        let tls = if url.https {
            let config = super::tls::client_config(backend.ca_pem.as_deref())?;
            let name = ServerName::try_from(url.host.clone())?;
            Some((TlsConnector::from(config), name))
        } else {
            None
        };
        let (proxy, timeout) = (backend.proxy.clone(), backend.deadlines.connect);
        Ok(Self(Arc::new(Target { gateway, backend: backend.name.clone(), url, proxy, tls, timeout })))
    }
}

impl Target {
    async fn dial(&self) -> Result<WireIo, DialError> {
        let dialled = tokio::time::timeout(self.timeout, self.connect()).await;
        let result = dialled.unwrap_or(Err(DialError::TimedOut(self.timeout)));
        self.gateway.metrics.connect(&self.backend, if result.is_ok() { "ok" } else { "failed" });
        result
    }

    async fn connect(&self) -> Result<WireIo, DialError> {
        let tcp = match &self.proxy {
            None => reach(&self.url.host, self.url.port).await?,
            Some(proxy) => {
                let mut tcp = reach(&proxy.host, proxy.port).await?;
                self.tunnel(&mut tcp, proxy).await?;
                tcp
            }
        };
        match &self.tls {
            None => Ok(WireIo::plain(tcp)),
            Some((connector, name)) => {
                let tls = connector.connect(name.clone(), tcp).await.map_err(DialError::Tls)?;
                Ok(WireIo::tls(tls))
            }
        }
    }

    /// Asks the proxy for a tunnel (RFC 9110, 9.3.6).
    async fn tunnel(&self, tcp: &mut TcpStream, proxy: &Proxy) -> Result<(), DialError> {
        const LONGEST_ANSWER: usize = 8 * 1024;
        let host =
            if self.url.host.contains(':') { format!("[{}]", self.url.host) } else { self.url.host.clone() };
        let target = format!("{host}:{}", self.url.port);
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n");
        if let Some(authorization) = &proxy.authorization {
            request.push_str("proxy-authorization: ");
            request.push_str(authorization.expose());
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        tcp.write_all(request.as_bytes()).await.map_err(DialError::Tcp)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= LONGEST_ANSWER {
                return Err(DialError::Proxy("its answer is too long".to_owned()));
            }
            // One byte at a time: what follows the head belongs to the tunnel.
            answer.push(tcp.read_u8().await.map_err(DialError::Tcp)?);
        }
        let line = String::from_utf8_lossy(&answer);
        let status = line.split_whitespace().nth(1).unwrap_or_default();
        if status.starts_with('2') { Ok(()) } else { Err(DialError::Proxy(format!("status {status}"))) }
    }
}

async fn reach(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(DialError::Dns)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(tcp) => {
                tcp.set_nodelay(true).map_err(DialError::Tcp)?;
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    Err(DialError::Tcp(last))
}

impl Service<ConnectInfo<Uri>> for Dial {
    type Response = Connection<Uri, WireIo>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_service::always_ready!();

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let target = self.0.clone();
        Box::pin(async move {
            let io = target.dial().await.map_err(|error| ConnectError::Io(io::Error::other(error)))?;
            Ok(Connection::new(info.request().clone(), io))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The socket tier: what the kernel says of a dialled connection.
    #[tokio::test]
    async fn a_dialled_connection_delays_no_small_write() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("its address");
        let tcp = reach(&address.ip().to_string(), address.port()).await.expect("a connection");
        assert!(tcp.nodelay().expect("TCP_NODELAY as the kernel has it"));
    }
}
