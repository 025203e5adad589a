//! Certificates, private keys and service accounts: that they are what they should be.

use headgate_providers::Secret;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::findings::Findings;
use crate::config::checked::ListenerTls;
use crate::config::raw;

/// A listener's `tls`.
pub fn listener(path: &str, raw: &raw::Tls, findings: &mut Findings<'_>) -> Option<ListenerTls> {
    let cert_path = format!("{path}.cert");
    let key_path = format!("{path}.key");
    let cert = findings.document(&cert_path, raw.cert.as_ref());
    let key = findings.document(&key_path, raw.key.as_ref());
    let (cert, key_pem) = (cert?, key?);
    let chain = certificates(&cert_path, cert.expose().as_bytes(), findings);
    let Ok(private) = PrivateKeyDer::from_pem_slice(key_pem.expose().as_bytes()) else {
        findings.wrong(key_path, "holds no private key in PEM, expected one (PKCS#8, PKCS#1 or SEC1)");
        return None;
    };
    let chain = chain?;
    let built = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth().with_single_cert(chain, private).ok());
    if !matches!(built, Ok(Some(_))) {
        findings.wrong(
            path,
            "cert and key cannot be used together, expected a chain and the key of its first certificate",
        );
        return None;
    }
    Some(ListenerTls { cert_pem: cert.expose().as_bytes().to_vec(), key_pem })
}

/// The certificates in `pem`, at least one.
pub fn certificates(
    path: &str,
    pem: &[u8],
    findings: &mut Findings<'_>,
) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(chain) if !chain.is_empty() => Some(chain),
        Ok(_) | Err(_) => {
            findings.wrong(path, "holds no certificate in PEM, expected at least one");
            None
        }
    }
}

/// Whether a credential that the admin API was given gets its tokens from Google alone: the other types name files and addresses
/// of their own choice.
pub fn stays_with_google(path: &str, secret: &Secret, findings: &mut Findings<'_>) -> bool {
    let json: serde_json::Value = serde_json::from_str(secret.expose()).unwrap_or_default();
    if !matches!(json["type"].as_str(), None | Some("service_account" | "authorized_user")) {
        let text = "is of a type that names its own addresses, expected a service_account or an authorized_user \
                    (server.allow_private_upstreams allows it)";
        findings.wrong(path, text);
        return false;
    }
    let endpoint = json["token_uri"].as_str();
    let googles = |text: &str| {
        super::url::base_url(text).is_ok_and(|url| url.https && url.host.ends_with(".googleapis.com"))
    };
    let stays = endpoint.is_none_or(googles);
    if !stays {
        let text = "gets its tokens elsewhere, expected a token_uri at googleapis.com \
                    (server.allow_private_upstreams allows it)";
        findings.wrong(path, text);
    }
    stays
}

/// A Google credential: JSON with a `type` and what that type needs.
pub fn service_account(path: &str, secret: Secret, findings: &mut Findings<'_>) -> Option<Secret> {
    let json: Option<serde_json::Value> = serde_json::from_str(secret.expose()).ok();
    let field = |name: &str| json.as_ref().and_then(|json| json.get(name)).and_then(|value| value.as_str());
    let needed: &[&str] = match field("type") {
        Some("service_account") => &["client_email", "private_key"],
        Some("authorized_user") => &["client_id", "client_secret", "refresh_token"],
        Some("external_account") => &["audience", "subject_token_type", "token_url"],
        Some("impersonated_service_account") => &["service_account_impersonation_url"],
        _ => {
            let text =
                "is not a Google credential, expected the JSON of a service_account or an authorized_user";
            findings.wrong(path, text);
            return None;
        }
    };
    let missing: Vec<&str> = needed.iter().copied().filter(|name| field(name).is_none()).collect();
    if missing.is_empty() {
        return Some(secret);
    }
    findings.wrong(path, format!("lacks {}, expected the JSON as Google made it", missing.join(" and ")));
    None
}
