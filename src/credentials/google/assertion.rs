//! The signed assertion of a service account: a JWT (RFC 7519) with RS256 (RFC 7518, 3.3), by ring.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use headgate_providers::Secret;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::account::{Service, TOKEN_URI};
use crate::credentials::state::{Again, Refusal};

/// What tokens may be used for.
pub const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long an assertion is good for, seconds; more is refused by Google.
const SECONDS: u64 = 3600;

/// The assertion for `service` at `wall`.
///
/// The audience is the constant that the official library sends, whatever the `token_uri`.
///
/// # Errors
/// A key that cannot sign.
pub fn sign(service: &Service, wall: SystemTime) -> Result<Secret, Refusal> {
    let issued = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut header = json!({ "typ": "JWT", "alg": "RS256" });
    if let Some(key_id) = &service.key_id {
        header["kid"] = json!(key_id);
    }
    let claims = json!({
        "iss": service.email, "scope": SCOPE, "aud": TOKEN_URI, "iat": issued, "exp": issued + SECONDS,
    });
    let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let mut assertion = format!("{}.{}", encode(header), encode(claims));
    let pair = key_pair(&service.key_pem)?;
    let mut signature = vec![0; pair.public().modulus_len()];
    // The random numbers blind the arithmetic; the signature does not depend on them.
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), assertion.as_bytes(), &mut signature)
        .map_err(|_| unusable("cannot sign"))?;
    assertion.push('.');
    assertion.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(Secret::new(assertion))
}

fn key_pair(pem: &Secret) -> Result<RsaKeyPair, Refusal> {
    let key = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| unusable("is no PEM"))?;
    let pair = match &key {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(_) | _ => return Err(unusable("is no RSA key")),
    };
    pair.map_err(|error| unusable(&format!("is refused: {error}")))
}

fn unusable(what: &str) -> Refusal {
    Refusal::new(Again::Never, format!("the service account's private_key {what}"))
}
