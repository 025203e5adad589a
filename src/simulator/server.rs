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

use super::clock::{Clock, sleep};
use super::config::Accept;
use super::http;
use super::owner::Meter;
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
#[derive(Debug)]
pub struct Seat {
    clock: Clock,
    takeover: Mutex<Option<Takeover>>,
    busy: AtomicUsize,
    quiet_since_ms: AtomicU64,
}

impl Seat {
    /// Hands the connection to a play.
    pub fn take_over(&self, takeover: Takeover) {
        *self.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
    }

    fn taken(&self) -> Option<Takeover> {
        self.takeover.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn new(clock: Clock) -> Self {
        // Nothing was answered yet: it is no kept-alive connection, and never idle.
        let quiet_since_ms = AtomicU64::new(u64::MAX);
        Self { clock, takeover: Mutex::default(), busy: AtomicUsize::default(), quiet_since_ms }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX)
    }

    /// For how long nothing was asked and nothing is being answered.
    fn idle_ms(&self) -> u64 {
        let busy = self.busy.load(Ordering::Relaxed) > 0;
        if busy { 0 } else { self.now_ms().saturating_sub(self.quiet_since_ms.load(Ordering::Relaxed)) }
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
    let seat = Arc::new(Seat::new(world.clock));
    let service = service_fn(|request| {
        let (world, busy) = (Arc::clone(&world), Busy::new(Arc::clone(&seat)));
        Box::pin(http::handle(world, busy, request)) as Pin<Box<dyn Future<Output = _> + Send>>
    });
    let mut connection =
        http1::Builder::new().max_buf_size(512 * 1024).serve_connection(TokioIo::new(socket), service);
    loop {
        let limit = world.manners().connection.idle_close_ms;
        let glance = if limit > 0 { (limit / 4).clamp(1, 250) } else { 250 };
        tokio::select! {
            // Sound ends and aborted clients alike: nothing is left to do but a possible takeover.
            _ = poll_fn(|cx| Pin::new(&mut connection).poll(cx)) => break,
            () = sleep(Duration::from_millis(glance)) => {}
        }
        if limit > 0 && seat.idle_ms() >= limit {
            Pin::new(&mut connection).graceful_shutdown();
        }
    }
    if let Some(Takeover { play, meter, receipt }) = seat.taken() {
        let socket = connection.into_parts().io.into_inner();
        socket.perform(play, meter, receipt).await;
    }
}

/// A request that is being answered, its body included.
#[derive(Debug)]
pub struct Busy {
    seat: Arc<Seat>,
}

impl Busy {
    fn new(seat: Arc<Seat>) -> Self {
        seat.busy.fetch_add(1, Ordering::Relaxed);
        Self { seat }
    }

    /// Its connection.
    pub fn seat(&self) -> &Seat {
        &self.seat
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.seat.quiet_since_ms.store(self.seat.now_ms(), Ordering::Relaxed);
        self.seat.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
