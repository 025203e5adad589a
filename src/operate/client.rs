//! One question to the admin API: a connection, a request, an answer within its time.
//!
//! On hyper and [`crate::dial`], like the token endpoints: an operator's command needs no pool. No redirect is followed, and the
//! token is a sensitive header. What may be asked twice without harm is asked once more when its connection breaks.

use std::time::Duration;

use bytes::Bytes;
use headgate_providers::Secret;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use url::Url;

use super::{Problem, Trouble};
use crate::config::checked::BaseUrl;
use crate::dial::{Dial, Dialled};

/// Longest time to a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Usual time to a whole answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Most bytes of an answer that is kept in memory.
const ANSWER_BYTES: usize = 256 << 20;
/// Everything of the admin API stands below it.
const ROOT: &str = "/admin/v1";

/// One gateway's admin API, with a token.
pub struct Client {
    address: BaseUrl,
    token: Secret,
    ca_pem: Option<Vec<u8>>,
}

/// A question.
pub struct Ask {
    /// Its method.
    pub method: Method,
    /// The path below the API's root, its segments encoded.
    pub path: String,
    /// Parameters, as they are.
    pub query: Vec<(&'static str, String)>,
    /// A JSON body; it may hold a secret.
    pub body: Option<Secret>,
    /// More header lines, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// Longest time to the whole answer.
    pub within: Duration,
    /// Whether asking twice does no harm.
    pub repeatable: bool,
}

/// An answer with a status of success.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its `ETag`, as it was sent.
    pub etag: Option<String>,
    /// Its body.
    pub body: Bytes,
}

/// An answer whose body is still coming; dropping it ends the connection.
pub struct Opened {
    response: Response<Incoming>,
    _connection: JoinSet<()>,
}

impl Ask {
    /// Reads `path`.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self { repeatable: true, ..Self::new(Method::GET, path) }
    }

    /// Asks `path` by `method`, once, without a body.
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method, path: path.into(), query, body: None, headers, within: ANSWER, repeatable: false }
    }

    /// With a parameter, where there is one.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        self.query.extend(value.map(|value| (name, value.into())));
        self
    }

    /// With a JSON body.
    #[must_use]
    pub fn body(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(Secret::new(body.to_string()));
        self
    }

    fn target(&self, prefix: &str) -> String {
        let mut target = format!("{prefix}{ROOT}{}", self.path);
        if !self.query.is_empty() {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(&self.query);
            target.push('?');
            target.push_str(&query.finish());
        }
        target
    }
}

impl Client {
    /// For the admin address `url`, which may have a path before the API's own.
    ///
    /// # Errors
    /// An address that is none, or that holds a password; a token that no header can carry.
    pub fn new(url: &str, token: Secret, ca_pem: Option<Vec<u8>>) -> Result<Self, Trouble> {
        let address = address(url).map_err(|what| Trouble::Arguments(format!("--url {what}")))?;
        let sound = !token.expose().is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if !sound {
            let what = "the admin token is empty, or holds a space or another character that no token has";
            return Err(Trouble::Refused(what.to_owned()));
        }
        Ok(Self { address, token, ca_pem })
    }

    /// Whether the token would cross a network in the clear.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        let host = self.address.host.as_str();
        let loopback =
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        !self.address.https && !loopback
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// Any [`Trouble`]; every status but those of success is one.
    pub async fn ask(&self, ask: &Ask) -> Result<Answer, Trouble> {
        match self.once(ask).await {
            Err(Trouble::Lost(_)) if ask.repeatable => self.once(ask).await,
            answer => answer,
        }
    }

    async fn once(&self, ask: &Ask) -> Result<Answer, Trouble> {
        let whole = async {
            let opened = self.open(ask).await?;
            let status = opened.response.status().as_u16();
            let header = opened.headers().get(ETAG).and_then(|value| value.to_str().ok());
            let etag = header.map(str::to_owned);
            let Opened { response, _connection } = opened;
            let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| self.lost(&error.to_string()))?.to_bytes();
            Ok(Answer { status, etag, body })
        };
        let answer = tokio::time::timeout(CONNECT + ask.within, whole).await;
        answer.unwrap_or_else(|_| Err(self.lost(&format!("no answer within {} s", ask.within.as_secs()))))
    }

    /// Asks, and hands over the answer as soon as its head is there.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn open(&self, ask: &Ask) -> Result<Opened, Trouble> {
        let dial = Dial::new(self.address.clone(), None, self.ca_pem.as_deref(), CONNECT);
        let unreachable = |why: String| Trouble::Unreachable(format!("{}: {why}", self.place()));
        let dial = dial.map_err(|error| unreachable(error.to_string()))?;
        let dialled = dial.dial().await.map_err(|error| unreachable(error.to_string()))?;
        let request = self.request(ask)?;
        let answer = async {
            match dialled {
                Dialled::Plain(stream) => over(stream, request).await,
                Dialled::Tls(stream) => over(*stream, request).await,
            }
        };
        let within = format!("no answer within {} s", ask.within.as_secs());
        let answer = tokio::time::timeout(ask.within, answer).await.unwrap_or(Err(within));
        let opened = answer.map_err(|why| self.lost(&why))?;
        let status = opened.response.status();
        if status.is_success() {
            return Ok(opened);
        }
        let body = Limited::new(opened.response.into_body(), 1 << 20).collect();
        // A reason that does not come is none; the status is there.
        let body = tokio::time::timeout(CONNECT, body).await.ok().and_then(Result::ok);
        Err(Problem::of(status.as_u16(), &body.map(|body| body.to_bytes()).unwrap_or_default()).trouble())
    }

    fn lost(&self, why: &str) -> Trouble {
        Trouble::Lost(format!("the gateway at {} did not answer as it should: {why}", self.place()))
    }

    fn place(&self) -> String {
        let scheme = if self.address.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.address.authority(), self.address.path)
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, Trouble> {
        let unsendable = |_| Trouble::Arguments("a name or header cannot be sent".to_owned());
        let body = ask
            .body
            .as_ref()
            .map_or_else(Bytes::new, |body| Bytes::copy_from_slice(body.expose().as_bytes()));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = ask.target(&self.address.path).parse().map_err(|_| unsendable(()))?;
        let mut token =
            HeaderValue::from_str(&format!("Bearer {}", self.token.expose())).map_err(|_| unsendable(()))?;
        token.set_sensitive(true);
        let headers = request.headers_mut();
        let host = HeaderValue::from_str(&self.address.authority()).map_err(|_| unsendable(()))?;
        headers.insert(HOST, host);
        headers.insert(AUTHORIZATION, token);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("headgate/", env!("CARGO_PKG_VERSION"))));
        if ask.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in &ask.headers {
            let value = HeaderValue::from_str(value).map_err(|_| unsendable(()))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(request)
    }
}

impl Opened {
    /// The header of the answer.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next part of the body; `None` at its proper end.
    ///
    /// # Errors
    /// [`Trouble::Lost`] where the body broke off, or nothing came for `idle`.
    pub async fn next(&mut self, idle: Duration) -> Result<Option<Bytes>, Trouble> {
        loop {
            let frame = tokio::time::timeout(idle, self.response.body_mut().frame()).await;
            let Ok(frame) = frame else {
                return Err(Trouble::Lost(format!("nothing came for {} s", idle.as_secs())));
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(Trouble::Lost(format!("the answer broke off: {error}"))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

async fn over<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Opened, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = shaken;
    let mut driven = JoinSet::new();
    // Why a connection ended is told to whoever reads the answer.
    driven.spawn(async move { drop(connection.await) });
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok(Opened { response, _connection: driven })
}

/// An id as a segment of a path.
#[must_use]
pub fn segment(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn address(text: &str) -> Result<BaseUrl, String> {
    let url = Url::parse(text.trim()).map_err(|error| format!("is no address: {error}"))?;
    let https = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err("is neither http nor https".to_owned()),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "must not hold a user or a password; the token comes from HEADGATE_ADMIN_TOKEN or --token-file"
                .to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("ends with the path before /admin/v1, and has no query".to_owned());
    }
    let host = url.host_str().ok_or("has no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix(ROOT).unwrap_or(path).to_owned();
    Ok(BaseUrl { https, host, port: url.port_or_known_default().unwrap_or(443), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_path_but_no_password() {
        let url = address("https://ops.example.com/gate/").unwrap();
        assert_eq!((url.authority().as_str(), url.path.as_str()), ("ops.example.com", "/gate"));
        assert_eq!(address("http://127.0.0.1:9090/admin/v1").unwrap().path, "");
        for wrong in ["9090", "ftp://x", "http://user:word@x", "http://x/?a=b"] {
            assert!(address(wrong).is_err_and(|what| !what.contains("word ")), "{wrong}");
        }
    }

    #[test]
    fn ids_and_parameters_are_encoded() {
        assert_eq!(segment("anthropic:org-a"), "anthropic:org-a");
        assert_eq!(segment("a/b c?ü"), "a%2Fb%20c%3F%C3%BC");
        let ask = Ask::get("/usage").query("by", Some("tenant,model")).query("from", None::<String>);
        assert_eq!(ask.target("/gate"), "/gate/admin/v1/usage?by=tenant%2Cmodel");
    }

    #[test]
    fn a_token_in_the_clear_is_noticed() {
        let exposed = |url| Client::new(url, Secret::new("t".to_owned()), None).unwrap().is_exposed();
        assert!(exposed("http://10.0.0.1:9090"));
        assert!(
            !exposed("https://10.0.0.1") && !exposed("http://[::1]:9090") && !exposed("http://localhost")
        );
    }

    #[test]
    fn a_token_that_no_header_carries_is_refused_unseen() {
        for token in ["", "a b", "canary\n"] {
            let refused = Client::new("http://localhost", Secret::new(token.to_owned()), None).err().unwrap();
            assert!(refused.exit_code() == 77 && !refused.to_string().contains("canary"));
        }
    }
}
