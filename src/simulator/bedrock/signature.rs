//! Signature Version 4, recomputed from what arrived.
//!
//! Written from the specification and not with the crate that signs, so that one checks the other. The canonical path is
//! the path as sent, encoded once more: `:` becomes `%3A`, and `%3A` becomes `%253A`.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::fmt::Write;

use hyper::http::request::Parts;
use jiff::Timestamp;
use ring::hmac;
use sha2::{Digest, Sha256};

/// What an `authorization` header claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Whose signature it is.
    pub access_key_id: &'a str,
    /// The day, `YYYYMMDD`.
    pub day: &'a str,
    /// The region.
    pub region: &'a str,
    /// The service.
    pub service: &'a str,
    /// The signed headers, in their order.
    pub signed: Vec<&'a str>,
    /// The signature, in hex.
    pub signature: &'a str,
}

impl<'a> Claim<'a> {
    /// Reads the header; `None` when it is not of this scheme or lacks a part.
    pub fn read(authorization: &'a str) -> Option<Self> {
        let parts = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let part = |name: &str| {
            let mut pairs = parts.split(',').filter_map(|part| part.trim().split_once('='));
            pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
        };
        let mut scope = part("Credential")?.split('/');
        let claim = Self {
            access_key_id: scope.next()?,
            day: scope.next()?,
            region: scope.next()?,
            service: scope.next()?,
            signed: part("SignedHeaders")?.split(';').collect(),
            signature: part("Signature")?,
        };
        (scope.next() == Some("aws4_request")).then_some(claim)
    }

    /// The signature that belongs to the request; `None` when a signed header is missing.
    pub fn expected(&self, secret: &str, parts: &Parts, body: &[u8]) -> Option<String> {
        let date = parts.headers.get("x-amz-date")?.to_str().ok()?;
        let canonical = self.canonical(parts, body)?;
        let scope = format!("{}/{}/{}/aws4_request", self.day, self.region, self.service);
        let text =
            format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [self.day, self.region, self.service, "aws4_request"] {
            key = mac(&key, part);
        }
        Some(hex(&mac(&key, &text)))
    }

    fn canonical(&self, parts: &Parts, body: &[u8]) -> Option<String> {
        let mut headers = String::new();
        for name in &self.signed {
            let values: Vec<String> = parts
                .headers
                .get_all(*name)
                .iter()
                .map(|value| {
                    String::from_utf8_lossy(value.as_bytes()).split_whitespace().collect::<Vec<_>>().join(" ")
                })
                .collect();
            if values.is_empty() {
                return None;
            }
            // Writing to a string cannot fail.
            let _ = writeln!(headers, "{name}:{}", values.join(","));
        }
        let mut query: Vec<String> = parts.uri.query().unwrap_or("").split('&').map(pair).collect();
        query.sort();
        Some(format!(
            "{}\n{}\n{}\n{headers}\n{}\n{}",
            parts.method,
            encoded(parts.uri.path()),
            query.join("&").trim_start_matches('&'),
            self.signed.join(";"),
            hex(&Sha256::digest(body)),
        ))
    }
}

/// Seconds since the epoch of an `x-amz-date` such as `20261122T062320Z`.
pub fn second_of(date: &str) -> Option<i64> {
    let (day, time) = date.strip_suffix('Z')?.split_once('T')?;
    if !date.is_ascii() || day.len() != 8 || time.len() != 6 {
        return None;
    }
    let text =
        format!("{}-{}-{}T{}:{}:{}Z", &day[..4], &day[4..6], &day[6..], &time[..2], &time[2..4], &time[4..]);
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

fn pair(pair: &str) -> String {
    if pair.is_empty() || pair.contains('=') { pair.to_owned() } else { format!("{pair}=") }
}

fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len() + 16);
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn a_claim_names_its_scope() {
        let claim = Claim::read(
            "AWS4-HMAC-SHA256 Credential=AKID/20261122/us-east-1/bedrock/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=abc",
        )
        .unwrap();
        assert_eq!((claim.access_key_id, claim.service, claim.signed.len()), ("AKID", "bedrock", 2));
        assert!(Claim::read("Bearer x").is_none());
        assert!(Claim::read("AWS4-HMAC-SHA256 Credential=AKID, SignedHeaders=host, Signature=a").is_none());
    }

    /// The vectors of AWS's own test suite for this algorithm.
    #[test]
    fn the_signatures_of_the_published_test_suite_are_met() {
        let cases = [
            ("/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            (
                "/?Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
        ];
        for (target, signature) in cases {
            let request = Request::get(target)
                .header("host", "example.amazonaws.com")
                .header("x-amz-date", "20150830T123600Z")
                .body(())
                .unwrap();
            let (parts, ()) = request.into_parts();
            let claim = Claim {
                access_key_id: "AKIDEXAMPLE",
                day: "20150830",
                region: "us-east-1",
                service: "service",
                signed: vec!["host", "x-amz-date"],
                signature: "",
            };
            let found = claim.expected("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &parts, b"").unwrap();
            assert_eq!(found, signature, "{target}");
        }
    }

    #[test]
    fn a_path_is_encoded_once_more_than_it_was_sent() {
        assert_eq!(encoded("/model/a-v1:0/invoke"), "/model/a-v1%3A0/invoke");
        assert_eq!(encoded("/model/a-v1%3A0/invoke"), "/model/a-v1%253A0/invoke");
        assert_eq!(second_of("20150830T123600Z"), Some(1_440_938_160));
        assert_eq!(second_of("2015-08-30"), None);
    }
}
