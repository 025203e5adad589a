//! A service account's signed assertion (RFC 7523), verified with the account's public key.
//! <https://developers.google.com/identity/protocols/oauth2/service-account>

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rsa::KeyPair;
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde_json::Value;

/// The scope that Vertex asks for.
pub const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How far clocks may differ, in seconds.
const SKEW_S: i64 = 300;
/// The longest life of an assertion, in seconds.
const LONGEST_S: i64 = 3_600;

/// Why there is no token: `error` and `error_description` of RFC 6749.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The code.
    pub error: &'static str,
    /// In words.
    pub description: &'static str,
}

const fn denied(error: &'static str, description: &'static str) -> Denied {
    Denied { error, description }
}

/// A well-formed assertion, not yet verified.
#[derive(Debug)]
pub struct Assertion<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    claims: Value,
}

impl<'a> Assertion<'a> {
    /// Takes it apart.
    ///
    /// # Errors
    /// `invalid_grant` when it is no JWT signed with RS256.
    pub fn read(text: &'a str) -> Result<Self, Denied> {
        let wrong = || denied("invalid_grant", "Invalid JWT: it cannot be read.");
        let (signed, signature) = text.rsplit_once('.').ok_or_else(wrong)?;
        let (head, claims) = signed.split_once('.').ok_or_else(wrong)?;
        let json = |part: &str| {
            URL_SAFE_NO_PAD.decode(part).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        };
        let (head, claims) = (json(head).ok_or_else(wrong)?, json(claims).ok_or_else(wrong)?);
        if head["alg"] != "RS256" {
            return Err(denied("invalid_grant", "Invalid JWT: the algorithm must be RS256."));
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| wrong())?;
        Ok(Self { signed, signature, claims })
    }

    /// Who asserts.
    pub fn issuer(&self) -> &str {
        self.claims["iss"].as_str().unwrap_or_default()
    }

    /// Verifies signature, audience, time (`now` in seconds since the epoch) and scope.
    ///
    /// # Errors
    /// `invalid_grant` or `invalid_scope`.
    pub fn verify(&self, pem: &str, audiences: &[String], now: i64) -> Result<(), Denied> {
        let key = public_key(pem).ok_or(denied("invalid_grant", "Invalid grant: account not found"))?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| denied("invalid_grant", "Invalid JWT Signature."))?;
        let audience = self.claims["aud"].as_str().unwrap_or_default();
        if !audiences.iter().any(|known| known == audience) {
            return Err(denied("invalid_grant", "Invalid JWT: Failed audience check."));
        }
        let (from, to) = (self.claims["iat"].as_i64(), self.claims["exp"].as_i64());
        let timely = from.zip(to).is_some_and(|(from, to)| {
            from <= now + SKEW_S && to > now - SKEW_S && from < to && to - from <= LONGEST_S
        });
        if !timely {
            let description = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. \
                               Check your iat and exp values in the JWT claim.";
            return Err(denied("invalid_grant", description));
        }
        if self.claims["scope"].as_str().unwrap_or_default().split(' ').any(|scope| scope == SCOPE) {
            Ok(())
        } else {
            Err(denied("invalid_scope", "Invalid OAuth scope or ID token audience provided."))
        }
    }
}

/// The PKCS#1 public key in a PEM of a public key, or of the private key it belongs to.
pub fn public_key(pem: &str) -> Option<Vec<u8>> {
    if let Ok(private) = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()) {
        let pair = KeyPair::from_pkcs8(private.secret_pkcs8_der()).ok()?;
        return Some(pair.public_key().as_ref().to_vec());
    }
    let info = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, info) = der(info.as_ref(), 0x30)?;
    let (rest, _algorithm) = der(info, 0x30)?;
    let (_, bits) = der(rest, 0x03)?;
    // The first byte of a bit string counts its unused bits: none here.
    bits.strip_prefix(&[0]).map(<[u8]>::to_vec)
}

/// The rest and the content of a DER value with this tag.
fn der(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, bytes) = bytes.split_first()?;
    let (&short, bytes) = bytes.split_first()?;
    let (length, bytes) = if short < 0x80 {
        (usize::from(short), bytes)
    } else {
        let (digits, bytes) = bytes.split_at_checked(usize::from(short & 0x7f).min(4))?;
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), bytes)
    };
    let (content, rest) = bytes.split_at_checked(length)?;
    (found == tag).then_some((rest, content))
}
