//! TLS of the listeners: certificates, and the process's cryptography. The client side is [`crate::dial`]'s.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::checked::ListenerTls;
use crate::dial::TlsError;

/// Makes ring the process's cryptography; later calls change nothing.
pub fn install() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a cryptography provider was installed before");
    }
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
