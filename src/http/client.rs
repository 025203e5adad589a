//! awc behind [`Transport`]: one `Links` per worker, one pair of clients per backend.
//!
//! HTTP/1.1, no redirects (a credential would travel), no decompression, no pool limit (admission is the limit), no timeouts
//! of awc's own (ours are the attempt's). Large bodies go out in slices, for awc copies what it is given.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::HeaderValue;
use actix_web::http::uri::{Authority, PathAndQuery, Scheme};
use actix_web::http::{self, Uri};
use awc::error::{ConnectError, PayloadError, SendRequestError};
use bytes::{Bytes, BytesMut};
use futures_util::Stream as _;
use headgate_providers::{Fault, FaultKind, Headers, Method, WireHead, WireRequest};

use super::aside::Aside;
use super::connector::Dial;
use super::names;
use super::wire_io::{Broken, WireIo};
use crate::config::checked::Backend;
use crate::dial::DialError;
use crate::gateway::Gateway;
use crate::transport::{Body, Transport};

/// How long an idle upstream connection is kept, and how long any is used.
const KEEP_ALIVE: Duration = Duration::from_secs(90);
const LIFETIME: Duration = Duration::from_secs(600);
/// Slices in which a body is handed to awc, bytes.
const SLICE: usize = 64 * 1024;
/// From this size on chunks that have arrived are not joined, bytes: copying much costs more than it saves.
const JOINED: usize = 32 * 1024;

/// The upstream connections of one worker.
#[derive(Clone)]
pub struct Links {
    gateway: Arc<Gateway>,
    links: Rc<RefCell<Vec<Rc<Link>>>>,
    /// For the tasks awc makes.
    aside: Rc<Aside>,
}

struct Link {
    backend: RefCell<Arc<Backend>>,
    host: HeaderValue,
    /// The path of the last request, and the URI that was made of it.
    recent: RefCell<(String, Uri)>,
    /// Reuses idle connections.
    pooled: awc::Client,
    /// Always dials.
    fresh: awc::Client,
}

impl Links {
    /// No connections yet.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway, links: Rc::default(), aside: Rc::default() }
    }

    /// The link to `backend`, made on first use. A reload that leaves the address as it was keeps its connections.
    fn link(&self, backend: &Arc<Backend>) -> Result<Rc<Link>, Fault> {
        let mut links = self.links.borrow_mut();
        if let Some(link) = links.iter().find(|link| Arc::ptr_eq(&link.backend.borrow(), backend)) {
            return Ok(link.clone());
        }
        if let Some(link) = links.iter().find(|link| same_wire(&link.backend.borrow(), backend)) {
            *link.backend.borrow_mut() = backend.clone();
            return Ok(link.clone());
        }
        links.retain(|link| link.backend.borrow().name != backend.name);
        let link = Rc::new(Link::new(&self.gateway, backend)?);
        links.push(link.clone());
        Ok(link)
    }
}

/// Whether connections made for `old` serve `new`.
fn same_wire(old: &Backend, new: &Backend) -> bool {
    let proxy = |backend: &Backend| {
        backend.proxy.as_ref().map(|proxy| {
            let authorization = proxy.authorization.as_ref().map(|secret| secret.expose().to_owned());
            (proxy.host.clone(), proxy.port, authorization)
        })
    };
    old.name == new.name
        && old.guarded == new.guarded
        && old.base_url == new.base_url
        && old.ca_pem == new.ca_pem
        && old.deadlines.connect == new.deadlines.connect
        && proxy(old) == proxy(new)
}

impl Link {
    fn new(gateway: &Arc<Gateway>, backend: &Arc<Backend>) -> Result<Self, Fault> {
        let unusable = |detail: String| Fault::new(FaultKind::Connect, detail);
        let url = backend.base_url.clone();
        let host = HeaderValue::from_str(&url.authority())
            .map_err(|_| unusable("the host is no header value".to_owned()))?;
        let dial = Dial::new(gateway.clone(), backend, url).map_err(|error| unusable(error.to_string()))?;
        let client = |keep_alive| {
            let connector = awc::Connector::new()
                .connector::<Dial, WireIo>(dial.clone())
                .limit(0)
                .timeout(backend.deadlines.connect + Duration::from_secs(1))
                .conn_keep_alive(keep_alive)
                .conn_lifetime(LIFETIME)
                .disconnect_timeout(Duration::from_millis(500));
            awc::Client::builder()
                .connector(connector)
                .disable_redirects()
                .disable_timeout()
                .no_default_headers()
                .finish()
        };
        let (pooled, fresh) = (client(KEEP_ALIVE), client(Duration::ZERO));
        let recent = RefCell::new(("/".to_owned(), uri("/")?));
        Ok(Self { backend: RefCell::new(backend.clone()), host, recent, pooled, fresh })
    }

    /// The URI of `path`. Requests mostly ask for the path of the one before.
    fn uri(&self, path: String) -> Result<Uri, Fault> {
        let mut recent = self.recent.borrow_mut();
        if recent.0 != path {
            let uri = uri(&path)?;
            *recent = (path, uri);
        }
        Ok(recent.1.clone())
    }
}

impl Transport for Links {
    type Body = WireBody;

    async fn send(
        &self,
        backend: &Arc<Backend>,
        request: WireRequest,
        fresh: bool,
    ) -> Result<(WireHead, WireBody), Fault> {
        let link = self.link(backend)?;
        let size = request.body_len();
        let client = if fresh { &link.fresh } else { &link.pooled };
        let method = match request.method {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
        };
        // What codings are accepted is the dialect's to say: awc need not look whether it was said.
        let mut outgoing = client.request(method, link.uri(request.path)?).no_decompress();
        let headers = outgoing.headers_mut();
        headers.insert(http::header::HOST, link.host.clone());
        for (name, value) in request.headers.into_lines() {
            let (Some(name), Ok(value)) = (names::header(&name), HeaderValue::from_maybe_shared(value))
            else {
                return Err(Fault::new(FaultKind::Inexpressible, "a header cannot be sent"));
            };
            headers.append(name, value);
        }
        let sending = if request.method == Method::Get {
            outgoing.send()
        } else {
            outgoing.send_body(Slices { left: request.body.into(), size: size as u64 })
        };
        let answer = self.aside.run(sending).await.map_err(|error| send_fault(&error, size))?;
        let head = head(&answer);
        // What could be passed over was left out below awc.
        if head.status < 200 {
            return Err(Fault::new(FaultKind::Malformed, "an interim answer that nobody asked for"));
        }
        let framed = head.headers.has("content-length") || head.headers.has("transfer-encoding");
        // An error is judged by its head where its body cannot be read.
        if !framed && (200..300).contains(&head.status) && head.status != 204 {
            return Err(Fault::new(FaultKind::Malformed, "the answer has neither length nor chunks"));
        }
        Ok((head, WireBody { answer: Box::new(answer), after: None, ended: false }))
    }
}

fn uri(path: &str) -> Result<Uri, Fault> {
    let path = PathAndQuery::from_maybe_shared(Bytes::copy_from_slice(path.as_bytes()))
        .map_err(|_| Fault::new(FaultKind::Inexpressible, "the path cannot be sent"))?;
    let mut parts = http::uri::Parts::default();
    // TLS is the connector's business; awc must use its plain pool.
    parts.scheme = Some(Scheme::HTTP);
    // The pool's key, hashed byte by byte. Each client has a pool of its own, the connector knows whom to dial, and the `host`
    // header is ours, so that one letter does.
    parts.authority = Some(Authority::from_static("u"));
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| Fault::new(FaultKind::Inexpressible, "the URI cannot be sent"))
}

fn head<S>(answer: &awc::ClientResponse<S>) -> WireHead {
    let lines = answer.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let headers = Headers::copied(lines);
    WireHead { status: answer.status().as_u16(), headers }
}

/// A request body, handed out in slices.
struct Slices {
    left: VecDeque<Bytes>,
    size: u64,
}

impl MessageBody for Slices {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        let Some(mut front) = self.left.pop_front() else { return Poll::Ready(None) };
        if front.len() > SLICE {
            let slice = front.split_to(SLICE);
            self.left.push_front(front);
            return Poll::Ready(Some(Ok(slice)));
        }
        Poll::Ready(Some(Ok(front)))
    }
}

/// The body of an upstream answer. What has already arrived in several chunks is handed on as one piece: a burst of small events
/// then costs one decoding and one chunk towards the caller, and nothing waits for it.
pub struct WireBody {
    answer: Box<awc::ClientResponse>,
    /// What the next poll finds, where joining ran into it.
    after: Option<Result<Bytes, Fault>>,
    ended: bool,
}

impl WireBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = std::task::ready!(std::pin::Pin::new(&mut *self.answer).poll_next(cx));
        self.ended = !matches!(next, Some(Ok(_)));
        Poll::Ready(next.map(|read| read.map_err(payload_fault)))
    }

    /// What has arrived behind `first`, joined to it.
    fn joined(&mut self, first: Bytes, cx: &mut Context<'_>) -> Bytes {
        let mut joined: Option<BytesMut> = None;
        let mut size = first.len();
        while size < JOINED {
            match self.poll_chunk(cx) {
                Poll::Ready(Some(Ok(next))) => {
                    size += next.len();
                    let joined = joined.get_or_insert_with(|| {
                        let mut joined = BytesMut::with_capacity(JOINED.min(8 * size));
                        joined.extend_from_slice(&first);
                        joined
                    });
                    joined.extend_from_slice(&next);
                }
                Poll::Ready(Some(Err(fault))) => {
                    self.after = Some(Err(fault));
                    break;
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        joined.map_or(first, BytesMut::freeze)
    }
}

impl Body for WireBody {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if let Some(after) = self.after.take() {
            return Poll::Ready(Some(after));
        }
        let first = std::task::ready!(self.poll_chunk(cx));
        Poll::Ready(first.map(|read| read.map(|first| self.joined(first, cx))))
    }
}

fn payload_fault(error: PayloadError) -> Fault {
    let kind = match &error {
        PayloadError::Io(_) | PayloadError::Incomplete(_) => FaultKind::Truncated,
        PayloadError::EncodingCorrupted
        | PayloadError::Overflow
        | PayloadError::UnknownLength
        | PayloadError::Http2Payload(_)
        | _ => FaultKind::Malformed,
    };
    Fault::new(kind, error.to_string())
}

fn send_fault(error: &SendRequestError, body_size: usize) -> Fault {
    let kind = match error {
        SendRequestError::Connect(ConnectError::Io(error)) => io_kind(error),
        SendRequestError::Connect(ConnectError::Disconnected) => FaultKind::Reset,
        SendRequestError::Connect(_) => FaultKind::Connect,
        SendRequestError::Send(error) => io_kind(error),
        SendRequestError::Response(actix_http::error::ParseError::Io(error)) => io_kind(error),
        SendRequestError::Response(_) => FaultKind::Malformed,
        SendRequestError::Url(_)
        | SendRequestError::Http(_)
        | SendRequestError::H2(_)
        | SendRequestError::Timeout
        | SendRequestError::TunnelNotSupported
        | SendRequestError::Body(_)
        | SendRequestError::Custom(..)
        | _ => FaultKind::Reset,
    };
    // A small body fits the socket's buffers: nobody refuses its upload, the connection just broke.
    let small = kind == FaultKind::UploadRefused && body_size <= SLICE;
    Fault::new(if small { FaultKind::Reset } else { kind }, error.to_string())
}

fn io_kind(error: &io::Error) -> FaultKind {
    let inner = error.get_ref();
    if let Some(broken) = inner.and_then(|inner| inner.downcast_ref::<Broken>()) {
        return match broken {
            Broken::Stale => FaultKind::StaleConnection,
            Broken::NoAnswer => FaultKind::Reset,
            Broken::UploadRefused => FaultKind::UploadRefused,
            Broken::Truncated => FaultKind::Truncated,
        };
    }
    match inner.and_then(|inner| inner.downcast_ref::<DialError>()) {
        Some(DialError::Tls(_)) => FaultKind::Tls,
        Some(
            DialError::Dns(_)
            | DialError::Private
            | DialError::Tcp(_)
            | DialError::TimedOut(_)
            | DialError::Proxy(_),
        ) => FaultKind::Connect,
        None => FaultKind::Reset,
    }
}
