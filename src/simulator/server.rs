//! Accepts connections and serves each with hyper, until a fault takes it over.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::body::Meter;
use super::clock::sleep;
use super::config::Accept;
use super::http;
use super::record::Receipt;
use super::socket::Socket;
use super::staged::Play;
use super::world::World;

/// A faulty answer on its way to the socket.
#[derive(Debug)]
pub struct Takeover {
    /// What is written.
    pub play: Play,
    /// Who pays.
    pub meter: Meter,
    /// The record.
    pub receipt: Receipt,
}

/// What a connection's requests share.
#[derive(Debug, Default)]
pub struct Seat {
    takeover: Mutex<Option<Takeover>>,
    busy: AtomicUsize,
    served: AtomicU64,
}

impl Seat {
    /// Hands the connection to a play.
    pub fn take_over(&self, takeover: Takeover) {
        *self.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
    }

    fn taken(&self) -> Option<Takeover> {
        self.takeover.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Listens.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until cancelled; every connection ends with it.
pub async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    world: Arc<World>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((tcp, _)) = accepted else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (tls, world, stop) = (tls.clone(), Arc::clone(&world), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = connection(tcp, tls, world) => {}
            }
        });
    }
}

async fn connection(tcp: TcpStream, tls: Option<TlsAcceptor>, world: Arc<World>) {
    let _open = world.book.connected();
    // Without it small events wait for acknowledgements; a socket that is gone needs none.
    drop(tcp.set_nodelay(true));
    match world.manners().connection.accept {
        Accept::Serve => {}
        Accept::Close => return,
        Accept::Reset => return Socket::Plain(tcp).reset(),
    }
    let socket = match tls {
        None => Socket::Plain(tcp),
        Some(tls) => match tls.accept(tcp).await {
            Ok(stream) => Socket::Tls(Box::new(stream)),
            Err(_) => return,
        },
    };
    serve(socket, world).await;
}

async fn serve(socket: Socket, world: Arc<World>) {
    let seat = Arc::new(Seat::default());
    let service = service_fn(|request| {
        let (world, seat) = (Arc::clone(&world), Arc::clone(&seat));
        Box::pin(async move {
            let _busy = Busy::new(Arc::clone(&seat));
            http::handle(world, seat, request).await
        }) as Pin<Box<dyn Future<Output = _> + Send>>
    });
    let mut connection =
        http1::Builder::new().max_buf_size(512 * 1024).serve_connection(TokioIo::new(socket), service);
    loop {
        let idle = idle_limit(&world);
        let before = seat.served.load(Ordering::Relaxed);
        tokio::select! {
            // Sound ends and aborted clients alike: nothing is left to do but a possible takeover.
            _ = poll_fn(|cx| Pin::new(&mut connection).poll(cx)) => break,
            () = sleep(idle.unwrap_or(Duration::from_millis(250))) => {}
        }
        let quiet = seat.busy.load(Ordering::Relaxed) == 0 && seat.served.load(Ordering::Relaxed) == before;
        if idle.is_some() && quiet {
            Pin::new(&mut connection).graceful_shutdown();
        }
    }
    if let Some(Takeover { play, meter, receipt }) = seat.taken() {
        let socket = connection.into_parts().io.into_inner();
        socket.perform(play, meter, receipt).await;
    }
}

fn idle_limit(world: &World) -> Option<Duration> {
    let limit = world.manners().connection.idle_close_ms;
    (limit > 0).then(|| Duration::from_millis(limit))
}

/// A request in its handler.
struct Busy(Arc<Seat>);

impl Busy {
    fn new(seat: Arc<Seat>) -> Self {
        seat.busy.fetch_add(1, Ordering::Relaxed);
        Self(seat)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        self.0.served.fetch_add(1, Ordering::Relaxed);
    }
}
