//! One small HTTP exchange with a token endpoint or a metadata server: a connection, a question, a bounded answer.
//!
//! On hyper, not on awc: refreshes run on a runtime of their own, and a token an hour needs no pool. No redirect is followed:
//! what is asked carries secrets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headgate_providers::Secret;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

use super::state::{Again, Refusal};
use crate::config::checked::{Backend, BaseUrl, Proxy};
use crate::dial::{Dial, Dialled};

/// Most bytes read of an answer: a token answer is some 2 KiB.
const ANSWER_BYTES: usize = 256 * 1024;

/// How endpoints are reached: as the backend's own upstream is.
#[derive(Clone, Debug)]
pub struct Exchange {
    proxy: Option<Proxy>,
    ca_pem: Option<Vec<u8>>,
    connect: Duration,
}

/// A question.
pub struct Ask {
    /// `http` or `https`.
    pub url: String,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, Secret)>,
    /// What is posted and its media type; `None`: it is a `GET`.
    pub body: Option<(&'static str, Secret)>,
}

/// An answer, of whatever status.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its header.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Exchange {
    /// By the proxy and with the extra roots of `backend`.
    #[must_use]
    pub fn of(backend: &Arc<Backend>) -> Self {
        let (proxy, ca_pem) = (backend.proxy.clone(), backend.ca_pem.clone());
        Self { proxy, ca_pem, connect: backend.deadlines.connect }
    }

    /// Without a proxy; `connect` is the longest dial.
    #[cfg(test)]
    pub fn direct(connect: Duration) -> Self {
        Self { proxy: None, ca_pem: None, connect }
    }

    /// Asks.
    ///
    /// # Errors
    /// [`Again::Soon`] where no answer came, [`Again::Later`] where the question cannot be sent as it is.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, Refusal> {
        let (url, target) = address(&ask.url)?;
        // Plain http is a metadata server or a stand-in on this machine; a proxy opens tunnels to other hosts.
        let proxy = self.proxy.clone().filter(|_| url.https);
        let host = url.authority();
        let dial = Dial::new(url, proxy, self.ca_pem.as_deref(), self.connect);
        let dial = dial.map_err(|error| Refusal::new(Again::Later, format!("TLS to {host}: {error}")))?;
        let dialled = dial.dial().await;
        let dialled = dialled.map_err(|error| Refusal::new(Again::Soon, format!("{host}: {error}")))?;
        let request = request(ask, &target, &host)?;
        let answer = match dialled {
            Dialled::Plain(stream) => over(stream, request).await,
            Dialled::Tls(stream) => over(*stream, request).await,
        };
        answer.map_err(|detail| Refusal::new(Again::Soon, format!("{host}: {detail}")))
    }
}

/// Where to dial, and the path and query to ask there.
fn address(text: &str) -> Result<(BaseUrl, String), Refusal> {
    let wrong = |what: &str| Refusal::new(Again::Later, format!("an endpoint's address {what}"));
    let url = Url::parse(text).map_err(|error| wrong(&format!("is none: {error}")))?;
    let https = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err(wrong("is neither http nor https")),
    };
    let host = url.host_str().ok_or_else(|| wrong("has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Ok((BaseUrl { https, host, port, path: String::new() }, target))
}

fn request(ask: Ask, target: &str, host: &str) -> Result<Request<Full<Bytes>>, Refusal> {
    let unsendable =
        || Refusal::new(Again::Later, "the question cannot be sent: a header or address is none");
    let method = if ask.body.is_some() { Method::POST } else { Method::GET };
    let (media, body) = match ask.body {
        Some((media, body)) => (Some(media), Bytes::copy_from_slice(body.expose().as_bytes())),
        None => (None, Bytes::new()),
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().map_err(|_| unsendable())?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| unsendable())?);
    if let Some(media) = media {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    }
    for (name, value) in ask.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| unsendable())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(request)
}

async fn over<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| error.to_string())?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    };
    // Both are polled here; whichever ends first, the connection ends with this call.
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}

/// A form's body, `application/x-www-form-urlencoded`.
#[must_use]
pub fn form(pairs: &[(&str, &str)]) -> Secret {
    Secret::new(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let (url, target) = address("https://sts.googleapis.com/v1/token?a=b").unwrap();
        assert_eq!((url.authority().as_str(), target.as_str()), ("sts.googleapis.com", "/v1/token?a=b"));
        let (url, target) = address("http://[::1]:8080").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.https, target.as_str()), ("::1", 8080, false, "/"));
        for wrong in ["", "nothing", "ftp://x/", "file:///etc/passwd"] {
            assert_eq!(address(wrong).unwrap_err().again, Again::Later, "{wrong}");
        }
    }

    #[test]
    fn forms_are_encoded() {
        assert_eq!(form(&[("a", "x y"), ("b", "1/+&=")]).expose(), "a=x+y&b=1%2F%2B%26%3D");
    }
}
