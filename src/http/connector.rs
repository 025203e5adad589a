//! The dial of [`crate::dial`] as awc wants it.
//!
//! TLS is done there and awc is given an `http` URI, so that its plain HTTP/1 pool runs over our guarded stream. One connector
//! belongs to one backend: its TLS configuration decides.

use std::io;
use std::sync::Arc;

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use actix_web::http::Uri;
use futures_util::future::LocalBoxFuture;

use super::wire_io::WireIo;
use crate::config::checked::{Backend, BaseUrl};
use crate::dial::{self, DialError, Dialled, TlsError};
use crate::gateway::Gateway;

/// Dials one backend.
#[derive(Clone)]
pub struct Dial(Arc<Target>);

struct Target {
    gateway: Arc<Gateway>,
    backend: String,
    dial: dial::Dial,
}

impl Dial {
    /// A dial for `backend` at `url`.
    ///
    /// # Errors
    /// A CA file or host name that TLS cannot use.
    pub fn new(gateway: Arc<Gateway>, backend: &Backend, url: BaseUrl) -> Result<Self, TlsError> {
        let (proxy, timeout) = (backend.proxy.clone(), backend.deadlines.connect);
        let dial = dial::Dial::new(url, proxy, backend.ca_pem.as_deref(), timeout)?.guarded(backend.guarded);
        Ok(Self(Arc::new(Target { gateway, backend: backend.name.clone(), dial })))
    }
}

impl Target {
    async fn dial(&self) -> Result<WireIo, DialError> {
        let result = self.dial.dial().await;
        self.gateway.metrics.connect(&self.backend, if result.is_ok() { "ok" } else { "failed" });
        Ok(match result? {
            Dialled::Plain(tcp) => WireIo::plain(tcp),
            Dialled::Tls(tls) => WireIo::tls(*tls),
        })
    }
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
