//! Addresses that no public API lives at: this machine, its networks, the cloud's metadata, and what embeds one of them.
//!
//! From IANA's special-purpose registries (RFC 6890), with IPv4 addresses that travel inside IPv6 unwrapped first. Pure, so that
//! the same judgement holds for what is written, for what a name resolves to, and for what is about to be dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `address` is anything but an ordinary public unicast address.
#[must_use]
pub fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_special_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_special_v4(inner) || !may_embed(address),
            None => is_special_v6(address),
        },
    }
}

/// Whether `host`, as a URL has it, can only lead to such an address or to a name that is never public.
pub fn is_special_host(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return is_special(address);
    }
    let private = [
        "localhost",
        "localdomain",
        "local",
        "internal",
        "intranet",
        "home.arpa",
        "home",
        "corp",
        "lan",
        "svc",
    ];
    let under =
        |suffix: &str| name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    name.is_empty() || !name.contains('.') || private.into_iter().any(under)
}

/// Networks as (first address, bits): see the registry of RFC 6890.
const V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // Wire server and metadata of Azure: public by number, local by meaning.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

fn is_special_v4(address: Ipv4Addr) -> bool {
    let within = |(network, bits): &(Ipv4Addr, u32)| {
        (address.to_bits() ^ network.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
    };
    V4.iter().any(within)
}

/// Public unicast is 2000::/3; what is reserved inside it is not.
fn is_special_v6(address: Ipv6Addr) -> bool {
    const INSIDE: [(u128, u32); 6] = [
        // Protocol assignments (Teredo and benchmarking are of it), documentation, ORCHID, and the second documentation block.
        (0x2001_0000 << 96, 23),
        (0x2001_0db8 << 96, 32),
        (0x3fff_0000 << 96, 20),
        // 6to4: what it holds is judged apart; nothing is served there.
        (0x2002_0000 << 96, 16),
        (0x2001_0010 << 96, 28),
        (0x5f00_0000 << 96, 16),
    ];
    let bits = address.to_bits();
    bits >> 125 != 0b001 || INSIDE.iter().any(|(network, width)| (bits ^ network) >> (128 - width) == 0)
}

/// The IPv4 address inside an IPv6 one: mapped, compatible, translated (RFC 6052, RFC 8215), 6to4, Teredo.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    let low = Ipv4Addr::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap_or(0));
    let top = |width: u32| bits >> (128 - width);
    let mapped = top(96) == 0xffff || top(96) == 0 || top(96) == 0xffff_0000;
    let translated = top(96) == 0x0064_ff9b_0000_0000_0000_0000 || top(48) == 0x0064_ff9b_0001;
    if mapped || translated {
        return Some(low);
    }
    match top(16) {
        0x2002 => Some(Ipv4Addr::from_bits(u32::try_from((bits >> 80) & 0xffff_ffff).unwrap_or(0))),
        _ if top(32) == 0x2001_0000 => Some(Ipv4Addr::from_bits(!low.to_bits())),
        _ => None,
    }
}

/// Mapped addresses and the well-known translation prefix reach what they hold; tunnels are not for servers.
fn may_embed(address: Ipv6Addr) -> bool {
    let top = address.to_bits() >> 32;
    top == 0xffff || top == 0x0064_ff9b_0000_0000_0000_0000
}

#[cfg(test)]
mod tests {
    use super::super::url::base_url;
    use super::*;

    #[test]
    fn special_addresses_are_known_in_every_form() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.7",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:808:808::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:db8::1",
            "3fff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "100::1",
            "2001:2::1",
            "2001:10::1",
            "5f00::1",
            "4000::1",
        ] {
            assert!(is_special(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "160.79.104.10",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(!is_special(address.parse().unwrap()), "{address}");
        }
    }

    /// What a URL parser makes of tricks is what is judged: there is one parser.
    #[test]
    fn every_way_of_writing_a_private_host_is_refused() {
        for url in [
            "http://127.1/",
            "https://127.0.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0x7f.1/",
            "https://017700000001/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[2002:7f00:1::]/",
            "https://[fe80::1]/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://api.anthropic.com@127.0.0.1/",
            "https://api.anthropic.com:443@127.0.0.1/",
            "https://127.0.0.1#@api.anthropic.com/",
            "https://127.0.0.1?@api.anthropic.com/",
            "https://127。0。0。1/",
            "https://１２７.0.0.1/",
            "https://127.0.0.1./",
            "https://169.254.169.254/latest/meta-data",
            "https://metadata.google.internal/",
            "https://metadata/",
            "https://0/",
            "https://0.0.0.0/",
            "https://kubernetes.default.svc/",
            "https://a.cluster.local/",
            "https:\\\\127.0.0.1\\",
            "https:///127.0.0.1/",
            "https://127.0.0.1:443/",
            "https://ⓛocalhost/",
            "file:///etc/passwd",
            "gopher://127.0.0.1/",
            "https://",
            "https://100.100.100.200/",
        ] {
            let refused = base_url(url).map_or(true, |url| is_special_host(&url.host));
            assert!(refused, "{url}");
        }
        for url in [
            "https://api.anthropic.com",
            "https://api.anthropic.com:8443/v1",
            "https://8.8.8.8/",
            "https://internal.example.com",
        ] {
            assert!(!is_special_host(&base_url(url).unwrap().host), "{url}");
        }
    }
}
