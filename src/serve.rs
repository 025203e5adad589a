//! The life of a serving process: bind, serve, drain on a signal, exit.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::gateway::Gateway;
use crate::http;

/// Serves until a signal ends it. `ready` is called with the two addresses once both listeners are bound.
///
/// SIGTERM drains: `/readyz` fails at once, requests are served for the drain delay, then the listener closes and live
/// streams finish within the drain timeout. SIGINT does the same without the delay; a second one ends the process at once.
///
/// # Errors
/// A listener that cannot be bound, or a server that fails.
pub async fn serve(
    gateway: Arc<Gateway>,
    ready: impl FnOnce(std::net::SocketAddr, std::net::SocketAddr),
) -> io::Result<()> {
    let servers = http::bind(&gateway)?;
    tracing::info!(data = %servers.data_address, admin = %servers.admin_address, "listening");
    ready(servers.data_address, servers.admin_address);
    let (data, admin) = (servers.data.handle(), servers.admin.handle());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = http::spawn(servers.data);
    let admin_running = http::spawn(servers.admin);

    let delay = tokio::select! {
        _ = terminate.recv() => gateway.settings().server.drain_delay,
        _ = interrupt.recv() => std::time::Duration::ZERO,
    };
    gateway.drain();
    tracing::info!(delay_s = delay.as_secs(), "draining");
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        _ = interrupt.recv() => {}
    }
    tokio::select! {
        () = data.stop(true) => {}
        _ = interrupt.recv() => data.stop(false).await,
    }
    admin.stop(true).await;
    let stopped = running.await.map_err(io::Error::other).and_then(|result| result);
    let admin_stopped = admin_running.await.map_err(io::Error::other).and_then(|result| result);
    tracing::info!("stopped");
    stopped.and(admin_stopped)
}
