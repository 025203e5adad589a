//! Dialling: DNS, TCP with `TCP_NODELAY`, an optional CONNECT proxy, TLS with HTTP/1.1 only.
//!
//! Used by the edge for upstreams and by [`crate::credentials`] for token endpoints. A [`Dial`] belongs to one address: what is
//! `https` never reaches a plain socket.

mod tls;

use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use tls::{TlsError, client_config};

use crate::config::checked::{BaseUrl, Proxy};
use crate::config::is_special;

/// Why a connection could not be made; travels inside the `io::Error`.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name could not be resolved.
    #[error("the host name cannot be resolved: {0}")]
    Dns(io::Error),
    /// It leads where a backend that the admin API made must not go.
    #[error("the host is at a private or special address, which this backend may not use")]
    Private,
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

/// A connection as dialled.
pub enum Dialled {
    /// Without TLS.
    Plain(TcpStream),
    /// After the handshake.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Dials one address.
pub struct Dial {
    url: BaseUrl,
    proxy: Option<Proxy>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
    /// Refuse special addresses, whatever the name resolves to today.
    guarded: bool,
}

impl Dial {
    /// A dial for `url`, within `timeout` each time.
    ///
    /// # Errors
    /// Extra roots or a host name that TLS cannot use.
    pub fn new(
        url: BaseUrl,
        proxy: Option<Proxy>,
        ca_pem: Option<&[u8]>,
        timeout: Duration,
    ) -> Result<Self, TlsError> {
        let tls = if url.https {
            let name = ServerName::try_from(url.host.clone())?;
            Some((TlsConnector::from(client_config(ca_pem)?), name))
        } else {
            None
        };
        Ok(Self { url, proxy, tls, timeout, guarded: false })
    }

    /// The same, for public addresses only where `guarded`: judged at every connect, since a name may move.
    #[must_use]
    pub fn guarded(self, guarded: bool) -> Self {
        Self { guarded, ..self }
    }

    /// A new connection.
    ///
    /// # Errors
    /// Any [`DialError`].
    pub async fn dial(&self) -> Result<Dialled, DialError> {
        let dialled = tokio::time::timeout(self.timeout, self.connect()).await;
        dialled.unwrap_or(Err(DialError::TimedOut(self.timeout)))
    }

    async fn connect(&self) -> Result<Dialled, DialError> {
        let tcp = match &self.proxy {
            None => reach(&self.url.host, self.url.port, self.guarded).await?,
            Some(proxy) => {
                // The proxy resolves the name by itself; where this machine can too, it must agree.
                if self.guarded && leads_inside(&self.url.host, self.url.port).await == Some(true) {
                    return Err(DialError::Private);
                }
                let mut tcp = reach(&proxy.host, proxy.port, proxy.guarded).await?;
                self.tunnel(&mut tcp, proxy).await?;
                tcp
            }
        };
        match &self.tls {
            None => Ok(Dialled::Plain(tcp)),
            Some((connector, name)) => {
                let tls = connector.connect(name.clone(), tcp).await.map_err(DialError::Tls)?;
                Ok(Dialled::Tls(Box::new(tls)))
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

/// Whether any address of `host` is special; `None` where the name cannot be resolved here.
pub async fn leads_inside(host: &str, port: u16) -> Option<bool> {
    let mut addresses = tokio::net::lookup_host((host, port)).await.ok()?;
    Some(addresses.any(|address| is_special(address.ip())))
}

async fn reach(host: &str, port: u16, guarded: bool) -> Result<TcpStream, DialError> {
    let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await.map_err(DialError::Dns)?.collect();
    // All of them: who answers with a public and a private address waits for the second try.
    if guarded && addresses.iter().any(|address| is_special(address.ip())) {
        return Err(DialError::Private);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The socket tier: what the kernel says of a dialled connection.
    #[tokio::test]
    async fn a_dialled_connection_delays_no_small_write() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("its address");
        let tcp = reach(&address.ip().to_string(), address.port(), false).await.expect("a connection");
        assert!(tcp.nodelay().expect("TCP_NODELAY as the kernel has it"));
    }

    /// A name that pointed elsewhere when the backend was made, and points here now.
    #[tokio::test]
    async fn a_guarded_dial_never_reaches_a_special_address_by_name_nor_through_a_proxy() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let url = |host: &str| BaseUrl { https: false, host: host.to_owned(), port, path: String::new() };
        let proxy = |guarded| Proxy { host: "127.0.0.1".to_owned(), port, authorization: None, guarded };
        let second = Duration::from_secs(1);
        for host in ["localhost", "127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            for proxy in [None, Some(proxy(false))] {
                let dial = Dial::new(url(host), proxy, None, second).expect("a dial").guarded(true);
                assert!(matches!(dial.dial().await, Err(DialError::Private)), "{host}");
            }
        }
        let through =
            Dial::new(url("8.8.8.8"), Some(proxy(true)), None, second).expect("a dial").guarded(true);
        assert!(matches!(through.dial().await, Err(DialError::Private)));
        let free = Dial::new(url("127.0.0.1"), None, None, second).expect("a dial");
        assert!(free.dial().await.is_ok());
    }
}
