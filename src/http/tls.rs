//! TLS: trusted roots towards upstreams, certificates of the listeners.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::checked::ListenerTls;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key is not PEM.
    #[error("PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// rustls refuses the certificate or key.
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    /// The host is no name that a certificate can carry.
    #[error("{0}")]
    Name(#[from] InvalidDnsNameError),
}

/// Makes ring the process's cryptography; later calls change nothing.
pub fn install() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a cryptography provider was installed before");
    }
}

/// The client side towards a backend: native roots, the bundled ones where the system has none, and the backend's own.
///
/// # Errors
/// A CA file that is not PEM or not a certificate.
pub fn client_config(ca_pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = system_roots().clone();
    if let Some(pem) = ca_pem {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate?)?;
        }
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    // awc's HTTP/2 pool cannot tell a dead connection from a live one; upstream is asked for HTTP/1.1 only.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::warn!(%error, "a native root certificate cannot be read");
        }
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        roots
    })
}

/// The server side of a listener; HTTP/2 and HTTP/1.1 are offered by the server itself.
///
/// # Errors
/// A chain or key that is not PEM, or that do not belong together.
pub fn server_config(tls: &ListenerTls) -> Result<ServerConfig, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&tls.cert_pem).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(tls.key_pem.expose().as_bytes())?;
    Ok(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?)
}
