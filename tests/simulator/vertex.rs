//! Vertex on real sockets, and the places its tokens come from.

use std::time::Duration;

use headgate::simulator::vertex::config::{GoogleKeyConfig, QuotaConfig};
use headgate::simulator::{Dialect, Fault, FaultKind, FaultRule, Knobs, RunningSimulator, SimulatorConfig};
use serde_json::{Value, json};

use super::wire::*;

const TOKEN: &str = "ya29.sim-gcp-a-1";
const METADATA: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

fn path(model: &str, method: &str) -> String {
    format!("/v1/projects/gcp-a/locations/global/publishers/anthropic/models/{model}:{method}")
}

fn body(stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": "hi"}]);
    json!({"anthropic_version": "vertex-2023-10-16", "max_tokens": 1_000, "stream": stream, "messages": messages})
}

async fn send(simulator: &RunningSimulator, line: &str, headers: &str, body: &str) -> Wire {
    let head = format!("{line} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n{headers}");
    let sent = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    exchange(simulator, &sent, |_| false).await
}

async fn predict(simulator: &RunningSimulator, path: &str, token: &str, body: &Value) -> Wire {
    let headers = format!("authorization: Bearer {token}\r\n");
    send(simulator, &format!("POST {path}"), &headers, &body.to_string()).await
}

fn status(wire: &Wire) -> (u16, Value) {
    (wire.status(), wire.json()["error"]["status"].clone())
}

#[tokio::test]
async fn whole_and_streamed_answers_are_those_of_the_first_party_ids_apart() {
    let simulator = start(SimulatorConfig::default()).await;
    let whole = predict(&simulator, &path("claude-sonnet-5", "rawPredict"), TOKEN, &body(false)).await;
    let first = ask(&simulator, KEY, "hi", false).await.json();
    let message = whole.json();
    assert_eq!((&message["content"], &message["usage"]), (&first["content"], &first["usage"]));
    assert!(message["id"].as_str().unwrap().starts_with("msg_vrtx_"));
    assert!(whole.header("anthropic-ratelimit-requests-limit").is_none());
    let streamed =
        predict(&simulator, &path("claude-sonnet-5", "streamRawPredict"), TOKEN, &body(true)).await;
    assert_eq!(streamed.events(), ask(&simulator, KEY, "hi", true).await.events());
    let dated =
        predict(&simulator, &path("claude-sonnet-4-5@20250929", "rawPredict"), TOKEN, &body(false)).await;
    assert_eq!(dated.json()["model"], "claude-sonnet-4-5-20250929");
    let first_party = path("claude-sonnet-4-5-20250929", "rawPredict");
    let unknown = predict(&simulator, &first_party, TOKEN, &body(false)).await;
    assert_eq!(status(&unknown), (404, json!("NOT_FOUND")));
    let recorded = &simulator.requests()[0];
    assert_eq!(
        (recorded.dialect, recorded.owner.as_str(), recorded.key.as_str()),
        (Dialect::Vertex, "gcp-a", "gcp-a-1")
    );
}

#[tokio::test]
async fn who_calls_is_checked_before_what_is_said() {
    let simulator = start(SimulatorConfig::default()).await;
    let place = path("claude-sonnet-5", "rawPredict");
    let stranger = predict(&simulator, &place, "ya29.nobody", &body(false)).await;
    assert_eq!(status(&stranger), (401, json!("UNAUTHENTICATED")));
    assert!(stranger.header("www-authenticate").unwrap().contains("invalid_token"));
    let nobody = send(&simulator, &format!("POST {place}"), "", "{}").await;
    assert!(nobody.text().contains("missing required authentication"));
    let elsewhere = predict(&simulator, &place, "ya29.sim-gcp-b-1", &body(false)).await;
    assert_eq!(status(&elsewhere), (403, json!("PERMISSION_DENIED")));
    let page = predict(&simulator, "/v1/projects/gcp-a/nothing", TOKEN, &body(false)).await;
    assert!(page.status() == 404 && page.header("content-type").unwrap().starts_with("text/html"));
    let streams = path("claude-sonnet-5", "streamRawPredict");
    let wrapped = predict(&simulator, &streams, "ya29.nobody", &body(true)).await;
    assert_eq!(wrapped.json()[0]["error"]["code"], 401);
}

#[tokio::test]
async fn the_model_stays_out_of_the_body_and_beta_out_of_the_query() {
    let simulator = start(SimulatorConfig::default()).await;
    let place = path("claude-sonnet-5", "rawPredict");
    let refused = async |name: &str, value: Value| {
        let mut body = body(false);
        body[name] = value;
        let wire = predict(&simulator, &place, TOKEN, &body).await;
        assert_eq!(wire.status(), 400, "{}", wire.text());
        // What the model's side refuses keeps Anthropic's envelope.
        assert_eq!(wire.json()["type"], "error");
        wire.json()["error"]["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(refused("model", json!("x")).await, "model: Extra inputs are not permitted");
    assert!(refused("anthropic_version", json!("bedrock-2023-05-31")).await.contains("not a valid version"));
    assert_eq!(refused("anthropic_version", Value::Null).await, "anthropic_version: Field required");
    assert!(refused("anthropic_beta", json!(["made-up"])).await.contains("made-up"));
    assert!(refused("stream", json!(true)).await.contains("streamRawPredict"));
    assert!(refused("tools", json!([{"type": "web_search_20250305"}])).await.contains("web_search_20250305"));
    let beta = predict(&simulator, &format!("{place}?beta=true"), TOKEN, &body(false)).await;
    assert_eq!(status(&beta), (400, json!("INVALID_ARGUMENT")));
    let headers = format!("authorization: Bearer {TOKEN}\r\nanthropic-beta: made-up-1\r\n");
    let flag = send(&simulator, &format!("POST {place}"), &headers, &body(false).to_string()).await;
    assert_eq!(flag.status(), 400);
    let mut counted = body(false);
    counted["model"] = json!("claude-sonnet-5");
    let counted = predict(&simulator, &path("count-tokens", "rawPredict"), TOKEN, &counted).await;
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_quota_is_named_and_may_say_when_to_come_back() {
    let mut config = SimulatorConfig::default();
    config.vertex.projects[0].retry_info = true;
    config.vertex.projects[0].quotas = vec![QuotaConfig { rpm: 1, ..QuotaConfig::default() }];
    let simulator = start(config).await;
    let place = path("claude-sonnet-5", "rawPredict");
    assert_eq!(predict(&simulator, &place, TOKEN, &body(false)).await.status(), 200);
    let refused = predict(&simulator, &place, TOKEN, &body(false)).await;
    assert_eq!(status(&refused), (429, json!("RESOURCE_EXHAUSTED")));
    let error = refused.json()["error"].clone();
    assert!(error["message"].as_str().unwrap().starts_with("Quota exceeded for"), "{error}");
    assert!(error["details"][0]["retryDelay"].as_str().unwrap().ends_with('s'), "{error}");
    assert!(refused.header("retry-after").is_none());
    let elsewhere = place.replace("/global/", "/us-east5/");
    assert_eq!(predict(&simulator, &elsewhere, TOKEN, &body(false)).await.status(), 200);
    let control = simulator.control();
    assert!(control.set_quotas("gcp-a", &[QuotaConfig { zero: true, ..QuotaConfig::default() }]));
    assert_eq!(predict(&simulator, &place, TOKEN, &body(false)).await.status(), 429);
    control.reset();
    control.set_faults(vec![Fault::new(FaultKind::ProvisionedThroughput).into()]);
    let own = predict(&simulator, &place, TOKEN, &body(false)).await;
    assert_eq!(own.json()["error"]["message"], "Too many requests. Exceeded the Provisioned Throughput.");
}

#[tokio::test]
async fn the_metadata_server_hands_out_tokens_that_expire() {
    let simulator = start(SimulatorConfig::default()).await;
    let line = format!("GET {METADATA}");
    assert_eq!(send(&simulator, &line, "", "").await.status(), 403);
    let token = async || send(&simulator, &line, "metadata-flavor: Google\r\n", "").await;
    let (first, second) = (token().await, token().await);
    assert_eq!(first.header("metadata-flavor").as_deref(), Some("Google"));
    let access = first.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(second.json()["access_token"], access.as_str());
    assert!(first.json()["expires_in"].as_u64().unwrap() > 3_500);
    let place = path("claude-sonnet-5", "rawPredict");
    assert_eq!(predict(&simulator, &place, &access, &body(false)).await.status(), 200);
    assert!(simulator.control().expire_tokens(Some("gcp-a-2")));
    assert_eq!(predict(&simulator, &place, &access, &body(false)).await.status(), 401);
    simulator.control().set_token_lifetime(Duration::from_secs(7));
    let third = token().await.json();
    assert!(third["access_token"] != access.as_str() && third["expires_in"] == 7, "{third}");
    assert_eq!(simulator.stats().key("gcp-a-2").unwrap().tokens_issued, 2);
}

#[tokio::test]
async fn a_federated_token_is_exchanged_and_may_impersonate() {
    let mut config = SimulatorConfig::default();
    let key = |name: &str| GoogleKeyConfig { name: name.into(), ..GoogleKeyConfig::default() };
    let federated = GoogleKeyConfig { subject_token: "subject".into(), ..key("federated") };
    let account = GoogleKeyConfig { client_email: "sa@x.example".into(), ..key("account") };
    config.vertex.projects[0].keys.extend([federated, account]);
    let simulator = start(config).await;
    let exchange = async |subject: &str| {
        let form = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&audience=a&subject_token={subject}\
             &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"
        );
        send(&simulator, "POST /v1/token", "content-type: application/x-www-form-urlencoded\r\n", &form).await
    };
    let wrong = exchange("other").await;
    assert_eq!((wrong.status(), &wrong.json()["error"]), (400, &json!("invalid_grant")));
    let access = exchange("subject").await.json()["access_token"].as_str().unwrap().to_owned();
    let place = path("claude-sonnet-5", "rawPredict");
    assert_eq!(predict(&simulator, &place, &access, &body(false)).await.status(), 200);
    let impersonate = "/v1/projects/-/serviceAccounts/sa@x.example:generateAccessToken";
    let given = predict(&simulator, impersonate, &access, &json!({})).await.json();
    let access = given["accessToken"].as_str().unwrap();
    assert!(given["expireTime"].as_str().unwrap().ends_with('Z'));
    assert_eq!(predict(&simulator, &place, access, &body(false)).await.status(), 200);
}

#[tokio::test]
async fn the_token_endpoint_fails_as_rules_of_its_path_say() {
    let simulator = start(SimulatorConfig::default()).await;
    let on = |kind, knobs| FaultRule {
        paths: vec!["/token".into(), "/computeMetadata/*".into()],
        ..Fault { kind, knobs }.into()
    };
    let metadata =
        async || send(&simulator, &format!("GET {METADATA}"), "metadata-flavor: Google\r\n", "").await;
    simulator.control().set_faults(vec![on(FaultKind::ServerError, Knobs::default())]);
    let failed = metadata().await;
    assert_eq!((failed.status(), &failed.json()["error"]), (500, &json!("internal_failure")));
    let place = path("claude-sonnet-5", "rawPredict");
    assert_eq!(predict(&simulator, &place, TOKEN, &body(false)).await.status(), 200);
    simulator.control().set_faults(vec![on(FaultKind::CloseBeforeHead, Knobs::default())]);
    assert!(metadata().await.bytes.is_empty());
    simulator.control().clear_faults(None);
    assert_eq!(metadata().await.status(), 200);
}

#[tokio::test]
async fn more_than_thirty_megabytes_are_too_large() {
    let simulator = start(SimulatorConfig::default()).await;
    let line = format!("POST {}", path("claude-sonnet-5", "rawPredict"));
    let length = 30 * 1024 * 1024 + 1;
    let head = format!(
        "{line} HTTP/1.1\r\nhost: sim\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {length}\r\n\r\n"
    );
    let wire = exchange(&simulator, &head, |wire| wire.text().contains("exceeds the limit")).await;
    assert_eq!((wire.status(), wire.header("connection").as_deref()), (413, Some("close")));
}
