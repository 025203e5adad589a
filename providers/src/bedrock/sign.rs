//! Signature Version 4 by Amazon's own crate.
//!
//! Signed are the host, the date, the session token, the body, its content type and every `x-amz` header: what no proxy
//! on the way changes (AWS General Reference, "Create a signed AWS API request"). The canonical path is the path as sent,
//! encoded once more.

use std::fmt::Write as _;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use ring::digest;

use crate::fault::{Fault, FaultKind};
use crate::wire::{Method, WireRequest};
use crate::{AwsKeys, Encode};

/// For whom a signature is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// AWS region.
    pub region: &'a str,
    /// Name of the service in signatures.
    pub service: &'a str,
}

/// Adds `x-amz-date`, `authorization` and, for keys of a session, `x-amz-security-token`.
///
/// # Errors
/// [`FaultKind::Inexpressible`] where host, path, a header or the token cannot be part of a signature.
pub(super) fn add(
    wire: &mut WireRequest,
    keys: &AwsKeys,
    encode: &Encode<'_>,
    scope: Scope<'_>,
) -> Result<(), Fault> {
    let identity = Credentials::new(
        keys.access_key_id.expose(),
        keys.secret_access_key.expose(),
        keys.session_token.as_ref().map(|token| token.expose().to_owned()),
        None,
        "configuration",
    )
    .into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(encode.wall)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| unsigned())?
        .into();
    let method = match wire.method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let covered =
        wire.headers.iter().filter(|(name, _)| *name == "content-type" || name.starts_with("x-amz"));
    let covered = covered.filter_map(|(name, value)| Some((name, std::str::from_utf8(value).ok()?)));
    let covered: Vec<(&str, &str)> = covered.chain([("host", encode.authority)]).collect();
    // The scheme is no part of a signature.
    let address = format!("https://{}{}", encode.authority, wire.path);
    let body = SignableBody::Precomputed(sha256(&wire.body));
    let request = SignableRequest::new(method, address, covered.into_iter(), body).map_err(|_| unsigned())?;
    let (instructions, _) = sign(request, &parameters).map_err(|_| unsigned())?.into_parts();
    for header in instructions.into_parts().0 {
        wire.headers.push(header.name(), header.value().to_owned());
    }
    Ok(())
}

/// What exactly is wrong may quote a credential.
fn unsigned() -> Fault {
    Fault::new(FaultKind::Inexpressible, "the request cannot be signed: host, path or a header is not valid")
}

/// SHA-256 of the slices in order, in lower-case hex. By ring, whose code for processors without SHA instructions takes a third
/// to nearly a half less time than `sha2`'s: hashing is most of what a large body costs here.
fn sha256(slices: &[Bytes]) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    for slice in slices {
        hash.update(slice);
    }
    let hash = hash.finish();
    let mut hex = String::with_capacity(hash.as_ref().len() * 2);
    for byte in hash.as_ref() {
        let written = write!(hex, "{byte:02x}");
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
    }
    hex
}
