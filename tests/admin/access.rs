//! Who may do what, and how refusals look.

use crate::plane::{ADMIN, OPERATOR, Plane, VIEWER, tokens};
use crate::wire::*;

/// Every route with a body that it takes, and the least role.
const ROUTES: [(&str, &str, &str, &str); 15] = [
    ("GET", "/status", "", VIEWER),
    ("GET", "/keys", "", VIEWER),
    ("GET", "/keys/org-a-1", "", VIEWER),
    ("POST", "/keys/org-a-1/park", r#"{"seconds": 1}"#, OPERATOR),
    ("POST", "/keys/org-a-1/unpark", "", OPERATOR),
    ("POST", "/keys/org-a-1/disable", "{}", OPERATOR),
    ("POST", "/keys/org-a-1/enable", "", OPERATOR),
    ("GET", "/groups", "", VIEWER),
    ("GET", "/groups/org-a-1", "", VIEWER),
    ("POST", "/groups/org-a-1/unpark", "", OPERATOR),
    ("GET", "/backends", "", VIEWER),
    ("GET", "/backends/a", "", VIEWER),
    ("POST", "/backends/a/breaker", r#"{"state": "auto"}"#, OPERATOR),
    ("GET", "/reload", "", VIEWER),
    ("POST", "/reload", "", ADMIN),
];

fn is_problem(wire: &Wire, status: u16) {
    assert_eq!(wire.status(), status, "{wire:?}");
    assert!(wire.head().contains("content-type: application/problem+json"), "{wire:?}");
    assert!(wire.head().contains("x-content-type-options: nosniff"), "{wire:?}");
    let json = wire.json();
    assert_eq!(json["status"], status);
    for field in ["type", "title", "detail"] {
        assert!(json[field].as_str().is_some_and(|text| !text.is_empty()), "{json}");
    }
}

#[tokio::test]
async fn every_route_asks_for_its_role_and_writes_nothing_without_it() {
    let plane = Plane::start(&["org-a-1"], &tokens()).await;
    let roles = [VIEWER, OPERATOR, ADMIN];
    for (method, path, body, least) in ROUTES {
        let needed = roles.iter().position(|role| *role == least).unwrap();
        is_problem(&send(plane.admin, method, &format!("/admin/v1{path}"), &[], body).await, 401);
        is_problem(&plane.with("forged", method, path, body).await, 401);
        for (has, role) in roles.iter().enumerate() {
            let wire = plane.with(role, method, path, body).await;
            if has < needed {
                is_problem(&wire, 403);
            } else {
                assert_eq!(wire.status(), 200, "{method} {path}: {wire:?}");
                assert!(wire.head().contains("x-content-type-options: nosniff"));
                for secret in ["sk-ant", VIEWER, OPERATOR, ADMIN] {
                    assert!(!wire.text.contains(secret), "{wire:?}");
                }
            }
        }
        assert_eq!(plane.key("org-a-1").await["enabled"], path != "/keys/org-a-1/disable");
    }
}

#[tokio::test]
async fn hostile_credentials_and_paths_get_nowhere() {
    let plane = Plane::start(&["org-a-1"], &tokens()).await;
    let long = "x".repeat(10_000);
    let cases: Vec<String> = vec![
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Basic {ADMIN}"),
        ADMIN.into(),
        format!("Bearer {}", &ADMIN[..ADMIN.len() - 1]),
        format!("Bearer {ADMIN}x"),
        format!("Bearer {ADMIN} {ADMIN}"),
        format!("Bearer {}", ADMIN.to_uppercase()),
        format!("Bearer {long}"),
        "Bearer \u{e9}\u{fc}".into(),
        "Bearer value:admin".into(),
    ];
    for credential in &cases {
        is_problem(
            &send(plane.admin, "GET", "/admin/v1/status", &[("authorization", credential)], "").await,
            401,
        );
    }
    let right = format!("Bearer {ADMIN}");
    let twice = [("authorization", right.as_str()), ("authorization", right.as_str())];
    is_problem(&send(plane.admin, "GET", "/admin/v1/status", &twice, "").await, 401);
    is_problem(&send(plane.admin, "GET", "/admin/v1/status", &[("x-api-key", ADMIN)], "").await, 401);
    let lower = format!("bearer {ADMIN}");
    assert_eq!(
        send(plane.admin, "GET", "/admin/v1/status", &[("authorization", &lower)], "").await.status(),
        200
    );
    for path in [
        "/admin/v1/",
        "/admin/v1/keys/",
        "/admin/v1/keys/../status",
        "/admin/v2/status",
        "//admin/v1/status",
        "/admin/v1/keys/%2e%2e%2fstatus",
    ] {
        is_problem(&send(plane.admin, "GET", path, &[("authorization", &right)], "").await, 404);
    }
    let wrong = plane.admin("PUT", "/keys/org-a-1", "").await;
    is_problem(&wrong, 405);
    assert!(wrong.head().contains("allow: DELETE, GET, PATCH"), "{wrong:?}");
    for path in ["/admin/v1/status", "/metrics"] {
        assert_eq!(
            send(plane.data, "GET", path, &[("authorization", &right)], "").await.status(),
            404,
            "the data plane has none of it"
        );
    }
}

#[tokio::test]
async fn a_wrong_body_names_its_field_and_changes_nothing() {
    let plane = Plane::start(&["org-a-1"], &tokens()).await;
    let long = format!(r#"{{"seconds": 1, "reason": "{}"}}"#, "x".repeat(201));
    let cases = [
        (r#"{"secnds": 5}"#, "seconds"),
        (r#"{"seconds": 5, "why": "x"}"#, "why"),
        (r#"{"seconds": "5"}"#, "seconds"),
        (r#"{"seconds": 0}"#, "seconds"),
        (r#"{"seconds": -1}"#, "seconds"),
        (r#"{"seconds": 1e300}"#, "seconds"),
        (r#"{"seconds": 5, "reason": 7}"#, "reason"),
        (r#"{"seconds": 5, "reason": "a\nb"}"#, "reason"),
        (long.as_str(), "reason"),
    ];
    for (body, field) in cases {
        let wire = plane.admin("POST", "/keys/org-a-1/park", body).await;
        is_problem(&wire, 400);
        assert_eq!(wire.json()["field"], field, "{body}");
    }
    for body in ["", "[]", "{", "null", "\"x\""] {
        is_problem(&plane.admin("POST", "/keys/org-a-1/park", body).await, 400);
    }
    is_problem(&plane.admin("POST", "/keys/org-a-1/enable", r#"{"now": true}"#).await, 400);
    is_problem(&plane.admin("GET", "/keys?limit=0", "").await, 400);
    is_problem(&plane.admin("GET", "/keys?limi=1", "").await, 400);
    is_problem(&plane.admin("POST", "/keys/none/enable", "").await, 404);
    is_problem(&plane.admin("POST", "/keys/org-a-1/park", &" ".repeat(70_000)).await, 413);
    assert_eq!(plane.key("org-a-1").await["parks"], serde_json::json!([]));
}

#[tokio::test]
async fn a_source_that_guesses_is_stopped() {
    let few = tokens().replace("1000", "5");
    let plane = Plane::start(&["org-a-1"], &few).await;
    for _ in 0..5 {
        is_problem(&plane.with("guess", "GET", "/status", "").await, 401);
    }
    let limited = plane.admin("GET", "/status", "").await;
    is_problem(&limited, 429);
    assert!(limited.head().contains("retry-after: "), "{limited:?}");
    assert_eq!(send(plane.admin, "GET", "/metrics", &[], "").await.status(), 200, "open on loopback");
}

#[tokio::test]
async fn without_tokens_the_admin_api_is_off_and_the_rest_is_there() {
    let plane = Plane::start(&["org-a-1"], "").await;
    let off = send(plane.admin, "GET", "/admin/v1/status", &[("authorization", "Bearer ")], "").await;
    is_problem(&off, 403);
    assert!(off.json()["type"].as_str().unwrap().ends_with("admin-api-off"));
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(send(plane.admin, "GET", path, &[], "").await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn on_the_network_metrics_ask_for_any_token_and_probes_for_none() {
    let server = "server: listen: '127.0.0.1:0', admin_listen: '0.0.0.0:0',\n";
    let plane = Plane::start(&["org-a-1"], &format!("{server}{}", tokens())).await;
    let admin = (std::net::Ipv4Addr::LOCALHOST, plane.admin.port()).into();
    is_problem(&send(admin, "GET", "/metrics", &[], "").await, 401);
    let viewer = format!("Bearer {VIEWER}");
    let metrics = send(admin, "GET", "/metrics", &[("authorization", &viewer)], "").await;
    assert_eq!(metrics.status(), 200);
    assert!(metrics.text.contains("headgate_config_generation 1"), "{metrics:?}");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(send(admin, "GET", path, &[], "").await.status(), 200, "{path}");
    }
}
