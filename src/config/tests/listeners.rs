//! Each listener is judged by itself.

use super::Deployment;

const DATA: &str = "server.listen: is on the network but there are no tenants, expected a loopback address, or tenants with keys";
const ADMIN: &str = "server.admin_listen: is on the network but no admin token is set, expected a loopback address, or a \
                     token in auth.admin_tokens that resolves";
const SAME: &str = "server.admin_listen: is the address of server.listen, expected one of its own";

struct Case {
    listen: &'static str,
    admin: &'static str,
    tenants: bool,
    open: bool,
    token: bool,
    problems: &'static [&'static str],
    warning: &'static str,
}

const fn case(listen: &'static str, admin: &'static str) -> Case {
    Case { listen, admin, tenants: false, open: false, token: false, problems: &[], warning: "" }
}

#[test]
fn on_the_network_a_listener_needs_authentication() {
    let no_tenants = "server.listen: there are no tenants";
    let open = "auth.tenants: clients are never asked for a key";
    let off = "auth.admin_tokens: none is set: the admin API is off";
    let (near, other, wide) = ("127.0.0.1:1", "127.0.0.1:2", "0.0.0.0:1");
    let cases = [
        Case { warning: no_tenants, ..case(near, other) },
        Case { warning: off, ..case("[::1]:1", "[::ffff:127.0.0.1]:2") },
        Case { problems: &[DATA], ..case(wide, other) },
        Case { problems: &[DATA], ..case("[::]:1", other) },
        Case { problems: &[DATA], token: true, ..case("10.0.0.1:1", other) },
        Case { tenants: true, warning: off, ..case(wide, other) },
        Case { open: true, warning: open, ..case(wide, other) },
        Case { open: true, tenants: true, warning: open, ..case(wide, other) },
        Case { problems: &[ADMIN], ..case(near, "0.0.0.0:2") },
        Case { problems: &[ADMIN], tenants: true, ..case(near, "192.168.1.1:2") },
        Case { token: true, warning: no_tenants, ..case(near, "0.0.0.0:2") },
        Case { problems: &[DATA, ADMIN], ..case(wide, "0.0.0.0:2") },
        Case { problems: &[SAME], ..case(near, near) },
    ];
    for (number, case) in cases.iter().enumerate() {
        let mode = if case.open { "open" } else { "required" };
        let tenants = if case.tenants { "[ { name: t, key: 'env:K' } ]" } else { "[]" };
        let yaml = format!(
            "server: {{ listen: '{}', admin_listen: '{}' }}\nauth: {{ tenants: {mode} }}\ntenants: {tenants}\n",
            case.listen, case.admin
        );
        let mut deployment = Deployment::of(&yaml).variable("K", "k");
        if case.token {
            deployment = deployment.variable("HEADGATE_ADMIN_TOKEN", "t");
        }
        assert_eq!(deployment.problems(), case.problems, "case {number}");
        if case.problems.is_empty() {
            let warnings = deployment.settings().warnings;
            assert!(
                warnings.iter().any(|text| text.starts_with(case.warning)),
                "case {number}: {warnings:?}"
            );
        }
    }
}

#[test]
fn addresses_are_addresses() {
    let wrong = "is not an IP address with a port, expected one such as 127.0.0.1:8080 or [::]:8080";
    for listen in ["localhost:80", "8080", ":8080", "127.0.0.1"] {
        let deployment = Deployment::of(&format!("server: {{ listen: '{listen}' }}"));
        assert_eq!(deployment.problems(), [format!("server.listen: {wrong}")], "{listen}");
    }
}

#[test]
fn tls_needs_a_chain_and_its_key() {
    let of = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (one, two) = (of("one"), of("two"));
    let with = |cert: &str, key: &str| {
        Deployment::of("server: { tls: { cert: 'file:cert.pem', key: 'file:key.pem' } }")
            .file("cert.pem", cert)
            .file("key.pem", key)
    };
    let (cert, key, other) =
        (one.cert.pem(), one.signing_key.serialize_pem(), two.signing_key.serialize_pem());
    let settings = with(&cert, &key).settings();
    assert_eq!(settings.server.tls.unwrap().cert_pem, cert.trim().as_bytes());
    assert_eq!(
        with("text", &key).problems(),
        ["server.tls.cert: holds no certificate in PEM, expected at least one"]
    );
    assert_eq!(
        with(&cert, "text").problems(),
        ["server.tls.key: holds no private key in PEM, expected one (PKCS#8, PKCS#1 or SEC1)"]
    );
    assert_eq!(
        with(&cert, &other).problems(),
        [
            "server.tls: cert and key cannot be used together, expected a chain and the key of its first certificate"
        ]
    );
    assert_eq!(
        Deployment::of("server: { tls: { } }").problems(),
        ["server.tls.cert: is missing", "server.tls.key: is missing"]
    );
}
