//! Upstream addresses: base URLs, proxies and which hosts go without one.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headgate_providers::Secret;
use url::{Host, Url};

use crate::config::checked::{BaseUrl, Proxy};
use crate::config::environment::Environment;

/// Parses a base URL; the error says what is wrong without quoting it, since it may hold credentials.
pub fn base_url(text: &str) -> Result<BaseUrl, &'static str> {
    const EXPECTED: &str = "is not a URL, expected http://HOST[:PORT][/PATH] or https://...";
    let url = Url::parse(text).map_err(|_| EXPECTED)?;
    let https = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err(EXPECTED),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials, expected them in keys");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment, expected none");
    }
    let host = host(&url).ok_or(EXPECTED)?;
    let port =
        url.port_or_known_default().filter(|port| *port != 0).ok_or("has port 0, expected a real one")?;
    Ok(BaseUrl { https, host, port, path: url.path().trim_end_matches('/').to_owned() })
}

fn host(url: &Url) -> Option<String> {
    match url.host()? {
        Host::Domain(name) => Some(name.to_owned()),
        Host::Ipv4(address) => Some(address.to_string()),
        Host::Ipv6(address) => Some(address.to_string()),
    }
}

/// Whether `host` can only be this machine.
pub fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.');
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Parses a proxy's URL, with or without `http://`; the error quotes nothing of it.
pub fn proxy(text: &str) -> Result<Proxy, &'static str> {
    const EXPECTED: &str = "is not a proxy, expected http://[USER:PASSWORD@]HOST:PORT";
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).map_err(|_| EXPECTED)?;
    if url.scheme() != "http"
        || !matches!(url.path(), "" | "/")
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(EXPECTED);
    }
    let host = host(&url).ok_or(EXPECTED)?;
    let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(EXPECTED)?;
    let authorization = if url.username().is_empty() && url.password().is_none() {
        None
    } else {
        let mut pair = decoded(url.username());
        pair.push(b':');
        pair.extend(decoded(url.password().unwrap_or_default()));
        Some(Secret::new(format!("Basic {}", STANDARD.encode(pair))))
    };
    Ok(Proxy { host, port, authorization, guarded: false })
}

/// Percent-decoding, as credentials in URLs need it.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = (*byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// The environment's proxy for https, with the name of the variable it came from.
pub fn environment_proxy(env: &Environment) -> Option<(&'static str, Result<Proxy, &'static str>)> {
    let found = ["https_proxy", "HTTPS_PROXY"].into_iter().find_map(|name| Some((name, env.get(name)?)));
    found.map(|(name, text)| (name, proxy(text.trim())))
}

/// Whether the environment says that `host` is reached without a proxy; loopback always is.
pub fn goes_direct(env: &Environment, host: &str, port: u16) -> bool {
    let rules = env.get("no_proxy").or_else(|| env.get("NO_PROXY")).unwrap_or_default();
    is_loopback(host) || rules.split(',').any(|rule| exempts(rule.trim(), host, port))
}

/// One entry of `NO_PROXY`: `*`, a host or domain (with or without a leading dot), an address, a network, or any of
/// the names with a port.
fn exempts(rule: &str, host: &str, port: u16) -> bool {
    if rule == "*" {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return match rule.split_once('/') {
            Some((network, bits)) => in_network(address, network, bits),
            None => rule.trim_matches(['[', ']']).parse() == Ok(address),
        };
    }
    let (name, wanted) = match rule.rsplit_once(':') {
        Some((name, wanted)) => (name, Some(wanted)),
        None => (rule, None),
    };
    if wanted.is_some_and(|wanted| wanted.parse() != Ok(port)) {
        return false;
    }
    let name = name.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    !name.is_empty() && host.strip_suffix(&name).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

fn in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let (value, base, width) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(base)) => {
            (u128::from(address.to_bits()), u128::from(base.to_bits()), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(base)) => (address.to_bits(), base.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    bits <= width && (value ^ base).checked_shr(width - bits).unwrap_or(0) == 0
}
