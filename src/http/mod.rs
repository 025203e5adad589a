//! The edge: actix-web serves callers, awc reaches upstreams. No dialect and no decision lives here.
//!
//! Two servers: the data plane with its workers, and the admin plane, which stops last so that metrics stay readable while
//! streams drain.

pub mod admin;
mod aside;
mod body;
mod chunks;
mod client;
mod connector;
mod ingress;
mod messages;
mod models;
mod names;
mod ops;
mod read_on;
mod respond;
mod stall;
pub mod tls;
mod wire_io;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Path, Server, Service as _, ServiceRequest, ServiceResponse, Url};
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, Uri};
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpServer};
use socket2::SockRef;

use crate::gateway::Gateway;

use client::Links;
use messages::Edge;
use stall::Stalls;

/// Idle time after which a caller's connection is closed; longer than the front load balancers' usual 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Longest time for a request's head to come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections waiting to be accepted.
const BACKLOG: i32 = 2048;

/// Runs `work` on this thread with the runtime that the servers need.
pub fn block_on<R>(work: impl Future<Output = R>) -> R {
    actix_web::rt::System::new().block_on(work)
}

/// Spawns `work` on this thread's runtime.
pub fn spawn<R: 'static>(work: impl Future<Output = R> + 'static) -> actix_web::rt::task::JoinHandle<R> {
    actix_web::rt::spawn(work)
}

/// The two servers, bound but not yet running.
pub struct Servers {
    /// Serves callers.
    pub data: Server,
    /// Serves operators.
    pub admin: Server,
    /// Where callers are served; the port is known even if 0 was asked for.
    pub data_address: SocketAddr,
    /// Where operators are served.
    pub admin_address: SocketAddr,
}

/// Runs a server on a listener, with TLS where it is configured; actix names the server's type in no way that a function
/// could take.
macro_rules! run {
    ($server:expr, $listener:expr, $tls:expr) => {
        match $tls {
            None => $server.listen($listener).map(HttpServer::run),
            Some(tls) => tls::server_config(tls)
                .map_err(io::Error::other)
                .and_then(|config| $server.listen_rustls_0_23($listener, config))
                .map(HttpServer::run),
        }
    };
}

/// Binds both listeners.
///
/// # Errors
/// An address that cannot be bound, or TLS that cannot be set up.
pub fn bind(gateway: &Arc<Gateway>) -> io::Result<Servers> {
    tls::install();
    let settings = gateway.settings();
    let server = &settings.server;
    let data_listener = listen("server.listen", server.listen)?;
    let admin_listener = listen("server.admin_listen", server.admin_listen)?;
    let data_address = data_listener.local_addr()?;
    let admin_address = admin_listener.local_addr()?;
    let stall = settings.deadlines.write_stall;
    let grace = server.drain_timeout.as_secs().max(1);

    let shared = gateway.clone();
    let data = HttpServer::new(move || {
        let (links, stalls) = (Links::new(shared.clone()), Stalls::start(shared.clone()));
        App::new()
            .app_data(Data::new(Edge { gateway: shared.clone(), links, stalls }))
            .app_data(Data::new(shared.clone()))
            .wrap_fn(|request, service| {
                let answered = service.call(request);
                async move { answered.await.map(lightened) }
            })
            .configure(data_routes)
    })
    .workers(server.workers)
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(HEAD_TIMEOUT)
    .tcp_nodelay(true)
    .h1_allow_half_closed(false)
    .worker_max_blocking_threads(2)
    .shutdown_timeout(grace)
    .disable_signals()
    .on_connect(move |io, _| bound_stall(io, stall));
    let data = run!(data, data_listener, &server.tls)?;

    let shared = Data::new(gateway.clone());
    let upstream = gateway.clone();
    let plane = Data::new(admin::Plane::new(gateway.clone(), admin_address));
    let admin = HttpServer::new(move || {
        let links = Data::new(Links::new(upstream.clone()));
        App::new().app_data(shared.clone()).app_data(plane.clone()).app_data(links).configure(admin_routes)
    })
    .workers(1)
    .tcp_nodelay(true)
    .h1_allow_half_closed(false)
    .shutdown_timeout(2)
    .disable_signals();
    let admin = run!(admin, admin_listener, &server.admin_tls)?;
    Ok(Servers { data, admin, data_address, admin_address })
}

/// A stream's request without its head. actix keeps a hundred finished requests of each worker to use them again, with the head
/// they came with, and each line of a head holds on to the 16 KiB that were read with it: after a rush of streams that
/// would be megabytes.
fn lightened<B: MessageBody>(response: ServiceResponse<B>) -> ServiceResponse<B> {
    if response.response().body().size() != BodySize::Stream {
        return response;
    }
    let (request, response) = response.into_parts();
    let mut request = ServiceRequest::from_request(request);
    *request.match_info_mut() = Path::new(Url::default());
    let head = request.head_mut();
    head.headers = HeaderMap::new();
    head.uri = Uri::default();
    let (request, _) = request.into_parts();
    ServiceResponse::new(request, response)
}

fn data_routes(app: &mut web::ServiceConfig) {
    app.service(only("/v1/messages", "POST", web::post().to(messages::messages)))
        .service(only("/v1/messages/count_tokens", "POST", web::post().to(messages::count_tokens)))
        .service(only("/v1/models", "GET", web::get().to(models::list)))
        .service(only("/v1/models/{id}", "GET", web::get().to(models::get)))
        .configure(probe_routes)
        .default_service(web::to(ops::not_found));
}

fn admin_routes(app: &mut web::ServiceConfig) {
    app.route("/metrics", web::get().to(admin::metrics))
        .configure(probe_routes)
        .default_service(web::to(admin::answer));
}

/// What load balancers look at, some of them by HEAD.
fn probe_routes(app: &mut web::ServiceConfig) {
    for method in [Method::GET, Method::HEAD] {
        app.route("/healthz", web::method(method.clone()).to(ops::healthz))
            .route("/readyz", web::method(method).to(ops::readyz));
    }
}

/// A path that takes one method; every other is told so.
fn only(path: &'static str, method: &'static str, route: actix_web::Route) -> actix_web::Resource {
    web::resource(path).route(route).default_service(web::to(
        move |edge: Data<Edge>, request: HttpRequest, payload: web::Payload| async move {
            ops::method_not_allowed(&edge, &request, payload, method).await
        },
    ))
}

fn listen(option: &str, address: SocketAddr) -> io::Result<TcpListener> {
    bound(address).map_err(|error| {
        io::Error::new(error.kind(), format!("{option}: {address} cannot be bound: {error}"))
    })
}

fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A caller who takes no bytes for `stall` is cut by the kernel: actix only stops polling us.
fn bound_stall(io: &dyn std::any::Any, stall: Duration) {
    type Tls = actix_tls::accept::rustls_0_23::TlsStream<TcpStream>;
    let tcp = io.downcast_ref::<TcpStream>().or_else(|| io.downcast_ref::<Tls>().map(|tls| tls.get_ref().0));
    if let Some(tcp) = tcp
        && let Err(error) = SockRef::from(tcp).set_tcp_user_timeout(Some(stall))
    {
        tracing::debug!(%error, "the write-stall limit cannot be set on a connection");
    }
}
