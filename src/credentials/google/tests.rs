//! The socket tier: each kind of credential file against an endpoint in this process that remembers what it was asked.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::clock::Moment;

const KEY: &str = include_str!("testdata/key.pem");
/// The public half, PKCS#1 DER.
const PUBLIC: &[u8] = include_bytes!("testdata/public.der");
const WALL: u64 = 1_800_000_000;

/// Answers by path; remembers head and body of every question.
struct Endpoint {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    async fn start(answers: &[(&'static str, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let (book, answers) = (heard.clone(), answers.to_vec());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut read = Vec::new();
                let text = loop {
                    let count = stream.read_buf(&mut read).await.unwrap();
                    let text = String::from_utf8_lossy(&read).into_owned();
                    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                    let length: usize = length.map_or(0, |length| length.parse().unwrap());
                    if count == 0 || text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= length)
                    {
                        break text;
                    }
                };
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                book.lock().unwrap().push(text);
                let answer =
                    answers.iter().find(|(asked, _)| path == *asked).map_or(NOT_FOUND, |(_, answer)| answer);
                let (head, body) = answer.split_once('|').unwrap();
                let head = head.replace('~', "\r\n");
                let whole = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                drop(stream.write_all(whole.as_bytes()).await);
            }
        });
        Self { address, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

const NOT_FOUND: &str = "404 Not Found|{}";
const TOKEN: &str = r#"200 OK|{"access_token":"ya29.one","expires_in":3599,"token_type":"Bearer"}"#;

fn google(origin: Origin) -> Google {
    Google { origin, exchange: Exchange::direct(Duration::from_secs(5)) }
}

async fn fetch(origin: Origin) -> Result<Fresh, Refusal> {
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(WALL);
    google(origin).fetch(At { now: Moment::default(), wall }).await
}

async fn fetch_json(json: Json) -> Result<Fresh, Refusal> {
    fetch(Origin::Document(Secret::new(json.to_string()))).await
}

fn token(fresh: &Fresh) -> &str {
    let Credential::Bearer(token) = &fresh.credential else { panic!("no bearer") };
    token.expose()
}

fn service(endpoint: &Endpoint) -> Json {
    json!({
        "type": "service_account", "project_id": "p", "private_key_id": "kid-1", "private_key": KEY,
        "client_email": "sa@p.iam.gserviceaccount.com", "token_uri": endpoint.url("/token"), "quota_project_id": "q",
    })
}

fn form_of(question: &str) -> Vec<(String, String)> {
    let body = question.split_once("\r\n\r\n").unwrap().1;
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn a_service_account_sends_a_signed_assertion() {
    let endpoint = Endpoint::start(&[("/token", TOKEN)]).await;
    let fresh = fetch_json(service(&endpoint)).await.unwrap();
    assert_eq!((token(&fresh), fresh.lifetime), ("ya29.one", Some(Duration::from_secs(3599))));
    assert_eq!(fresh.lines.len(), 1);
    assert_eq!((fresh.lines[0].0.as_str(), fresh.lines[0].1.expose()), ("x-goog-user-project", "q"));
    let question = endpoint.heard().remove(0);
    assert!(
        question.starts_with("POST /token HTTP/1.1\r\n")
            && question.contains(&format!("content-type: {FORM}"))
    );
    let form = form_of(&question);
    assert_eq!(form[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(form[1].0, "assertion");
    let parts: Vec<&str> = form[1].1.split('.').collect();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let json = |part: &str| serde_json::from_slice::<Json>(&decode(part)).unwrap();
    assert_eq!(json(parts[0]), json!({ "typ": "JWT", "alg": "RS256", "kid": "kid-1" }));
    assert_eq!(
        json(parts[1]),
        json!({ "iss": "sa@p.iam.gserviceaccount.com", "scope": "https://www.googleapis.com/auth/cloud-platform",
                "aud": "https://oauth2.googleapis.com/token", "iat": WALL, "exp": WALL + 3600 })
    );
    let signed = form[1].1.rsplit_once('.').unwrap().0;
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC);
    public.verify(signed.as_bytes(), &decode(parts[2])).unwrap();
}

#[tokio::test]
async fn an_authorized_user_refreshes_by_its_token() {
    let endpoint = Endpoint::start(&[("/token", TOKEN)]).await;
    let user = json!({ "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "1//r",
                       "token_uri": endpoint.url("/token") });
    assert_eq!(token(&fetch_json(user).await.unwrap()), "ya29.one");
    let form = form_of(&endpoint.heard()[0]);
    let expected = [
        ("grant_type", "refresh_token"),
        ("client_id", "c"),
        ("client_secret", "s"),
        ("refresh_token", "1//r"),
    ];
    assert!(form.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected));
}

#[tokio::test]
async fn the_metadata_server_is_asked_and_recognised_by_its_header() {
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    let good = "200 OK~metadata-flavor: Google|{\"access_token\":\"ya29.i\",\"expires_in\":120}";
    for (answer, expected) in [(good, Some("ya29.i")), (TOKEN, None)] {
        let endpoint = Endpoint::start(&[(path, answer)]).await;
        let host = endpoint.address.to_string();
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_string_lossy().into_owned();
        let environment = Environment::from_iter([("GCE_METADATA_HOST", host), ("HOME", home)]);
        let fresh = fetch(Origin::Ambient(environment)).await;
        assert_eq!(fresh.as_ref().ok().map(token), expected);
        assert!(endpoint.heard()[0].contains("metadata-flavor: Google\r\n"));
    }
    let nobody = Environment::from_iter([("GCE_METADATA_HOST", "127.0.0.1:9")]);
    assert_eq!(fetch(Origin::Ambient(nobody)).await.unwrap_err().again, Again::Soon);
}

#[tokio::test]
async fn the_default_chain_takes_the_named_file_then_gclouds_then_the_metadata_server() {
    let endpoint = Endpoint::start(&[("/a", TOKEN), ("/b", TOKEN)]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let user = |at: &str| {
        json!({ "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
                "token_uri": endpoint.url(at) })
        .to_string()
    };
    std::fs::write(path("named.json"), user("/a")).unwrap();
    std::fs::create_dir_all(path(".config/gcloud")).unwrap();
    std::fs::write(path(".config/gcloud/application_default_credentials.json"), user("/b")).unwrap();
    let home = ("HOME", path(""));
    let named = ("GOOGLE_APPLICATION_CREDENTIALS", path("named.json"));
    fetch(Origin::Ambient(Environment::from_iter([home.clone(), named]))).await.unwrap();
    fetch(Origin::Ambient(Environment::from_iter([home.clone()]))).await.unwrap();
    fetch(Origin::Ambient(Environment::from_iter([("CLOUDSDK_CONFIG", path(".config/gcloud"))])))
        .await
        .unwrap();
    let paths: Vec<String> =
        endpoint.heard().iter().map(|text| text.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(paths, ["/a", "/b", "/b"]);
    let missing = ("GOOGLE_APPLICATION_CREDENTIALS", path("missing.json"));
    assert_eq!(
        fetch(Origin::Ambient(Environment::from_iter([home, missing]))).await.unwrap_err().again,
        Again::Later
    );
}

fn federated(endpoint: &Endpoint, source: Json) -> Json {
    json!({
        "type": "external_account", "audience": "//iam.googleapis.com/pools/p/providers/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": endpoint.url("/sts"),
        "credential_source": source,
    })
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    std::fs::write(folder.join(name), text).unwrap();
    folder.join(name).to_string_lossy().into_owned()
}

#[tokio::test]
async fn a_workload_exchanges_its_own_token_and_impersonates() {
    let made = r#"200 OK|{"accessToken":"ya29.sa","expireTime":"2027-01-15T08:30:00Z"}"#;
    let subject = r#"200 OK|{"id":{"no":1},"value":"subject-u"}"#;
    let endpoint =
        Endpoint::start(&[("/sts", TOKEN), ("/sa:generateAccessToken", made), ("/subject?a=1", subject)])
            .await;
    let folder = tempfile::tempdir().unwrap();
    let text = file(folder.path(), "subject", "subject-f\n");
    let fresh = fetch_json(federated(&endpoint, json!({ "file": text }))).await.unwrap();
    assert_eq!(token(&fresh), "ya29.one");
    let form = form_of(&endpoint.heard()[0]);
    let field = |name: &str| form.iter().find(|(field, _)| field == name).unwrap().1.clone();
    assert_eq!(field("grant_type"), "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_eq!((field("subject_token").as_str(), field("scope").as_str()), ("subject-f", SCOPE));
    assert_eq!(field("audience"), "//iam.googleapis.com/pools/p/providers/x");

    let source = json!({ "url": endpoint.url("/subject?a=1"), "headers": { "X-Own": "yes" },
                         "format": { "type": "json", "subject_token_field_name": "value" } });
    let mut account = federated(&endpoint, source);
    account["service_account_impersonation_url"] = json!(endpoint.url("/sa:generateAccessToken"));
    account["client_id"] = json!("app");
    account["client_secret"] = json!("pw");
    let fresh = fetch_json(account).await.unwrap();
    // 2027-01-15T08:30:00Z is 1,800,001,800.
    assert_eq!((token(&fresh), fresh.lifetime), ("ya29.sa", Some(Duration::from_secs(1800))));
    let heard = endpoint.heard();
    assert!(heard[1].starts_with("GET /subject?a=1 ") && heard[1].contains("x-own: yes\r\n"));
    assert!(
        heard[2].contains("authorization: Basic YXBwOnB3\r\n")
            && heard[2].contains("subject_token=subject-u")
    );
    assert!(
        heard[3].contains("authorization: Bearer ya29.one\r\n") && heard[3].contains(r#""lifetime":"3600s""#)
    );

    let elsewhere = federated(&endpoint, json!({ "environment_id": "aws1", "url": "http://x/" }));
    assert_eq!(fetch_json(elsewhere).await.unwrap_err().again, Again::Later);
}

#[tokio::test]
async fn one_account_impersonates_another() {
    let made = r#"200 OK|{"accessToken":"ya29.sa","expireTime":"2027-01-15T08:00:00Z"}"#;
    let endpoint = Endpoint::start(&[("/token", TOKEN), ("/sa", made)]).await;
    let account = json!({ "type": "impersonated_service_account", "service_account_impersonation_url": endpoint.url("/sa"),
                          "delegates": ["d"], "source_credentials": service(&endpoint) });
    let fresh = fetch_json(account).await.unwrap();
    assert_eq!((token(&fresh), fresh.lifetime), ("ya29.sa", Some(Duration::ZERO)));
    assert!(endpoint.heard()[1].contains(r#""delegates":["d"]"#));
}

#[tokio::test]
async fn refusals_say_when_asking_again_may_help() {
    let revoked =
        r#"400 Bad Request|{"error":"invalid_grant","error_description":"Invalid grant: account not found"}"#;
    let skewed = r#"400 Bad Request|{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token and in a reasonable timeframe."}"#;
    for (answer, again) in [
        (revoked, Again::Never),
        (skewed, Again::Later),
        (r#"401 Unauthorized|{"error":"invalid_client"}"#, Again::Never),
        (r#"400 Bad Request|{"error":"server_error"}"#, Again::Soon),
        (r#"400 Bad Request|{"error":"invalid_scope"}"#, Again::Later),
        ("503 Service Unavailable|<html>", Again::Soon),
        ("429 Too Many Requests|", Again::Soon),
        ("302 Found~location: http://127.0.0.1:9/|", Again::Later),
        (r#"200 OK|{"access_token":""}"#, Again::Later),
        (r#"200 OK|{"access_token":"t","expires_in":"soon"}"#, Again::Later),
        ("200 OK|<html>", Again::Later),
        (r#"403 Forbidden|{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}"#, Again::Later),
    ] {
        let endpoint = Endpoint::start(&[("/token", answer)]).await;
        let refusal = fetch_json(service(&endpoint)).await.unwrap_err();
        assert_eq!(refusal.again, again, "{answer}: {}", refusal.detail);
        assert!(!refusal.detail.contains("PRIVATE") && !refusal.detail.contains("assertion"));
    }
}

#[tokio::test]
async fn lifetimes_come_in_odd_forms() {
    for (said, seconds) in
        [("\"3599\"", 3599), ("0", 0), ("-5", 0), ("59.9", 59), ("null", 3600), ("1e300", u64::MAX)]
    {
        let answer: &'static str = format!(r#"200 OK|{{"access_token":"t","expires_in":{said}}}"#).leak();
        let endpoint = Endpoint::start(&[("/token", answer)]).await;
        let lifetime = fetch_json(service(&endpoint)).await.unwrap().lifetime.unwrap();
        assert_eq!(lifetime.as_secs(), seconds, "{said}");
    }
}

#[tokio::test]
async fn files_that_are_of_no_use_say_what_they_lack() {
    for (json, lacks) in [
        (json!([]), "type"),
        (json!({ "type": "service_account", "private_key": "x" }), "client_email"),
        (json!({ "type": "authorized_user", "client_id": "x" }), "client_secret"),
        (json!({ "type": "external_account", "credential_source": {} }), "url"),
        (json!({ "type": "gdch_service_account" }), "type"),
        (json!({ "type": "service_account", "client_email": "e", "private_key": "very-secret" }), "PEM"),
    ] {
        let refusal = fetch_json(json).await.unwrap_err();
        assert!(
            refusal.detail.contains(lacks) && !refusal.detail.contains("very-secret"),
            "{}",
            refusal.detail
        );
    }
}
