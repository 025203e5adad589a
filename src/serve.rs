//! The life of a serving process: bind, serve, reload when asked, drain on a signal, exit.

use std::cell::OnceCell;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::gateway::Gateway;
use crate::http;
use crate::keeping::{Keeping, LAST_WRITES};
use crate::memory::give_back_after_rushes;
use crate::reload::{Trigger, reload};
use crate::watch::Watch;

/// How long before the end of the drain callers are told; half of a drain that is shorter than two of it.
const GOODBYE_BEFORE_END: Duration = Duration::from_secs(1);
/// How long after the drain the process may take to stop its servers and flush; then it ends whatever hangs. Two seconds
/// for the admin plane, one for workers, which look at their connections once a second, one for telemetry, and the last writes.
const EXIT_MARGIN: Duration = LAST_WRITES.saturating_add(Duration::from_secs(4));
/// How long the last word may take, should the log itself be what hangs.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Why a process does not serve, or not to a clean end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener that cannot be bound, a server that fails, or a drain that a second signal cut short.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Neither the files nor the store hold a tenant, and the data plane is on the network.
    #[error(
        "server.listen: is on the network but there are no tenants, neither in the files nor in the store"
    )]
    Exposed,
}

/// Serves until a signal ends it, on this thread. `ready` is called with the two addresses once both listeners are bound.
///
/// SIGTERM drains: `/readyz` fails at once, requests are served for the drain delay, then the listener closes and live
/// streams finish within the drain timeout; who has not finished 1 s before its end is told so. SIGINT does the same without
/// the delay. A second signal of either kind ends the process at once, and a watchdog ends it when anything hangs. SIGHUP and
/// changes of the configuration's files reload.
///
/// # Errors
/// As [`ServeError`] says.
pub fn serve(
    gateway: Arc<Gateway>,
    ready: impl FnOnce(std::net::SocketAddr, std::net::SocketAddr),
) -> Result<(), ServeError> {
    // Here, for the end of the runtime waits for its threads, and one of those may be what hangs.
    let watchdog = OnceCell::new();
    http::block_on(serve_until_told(gateway, ready, &watchdog))
}

async fn serve_until_told(
    gateway: Arc<Gateway>,
    ready: impl FnOnce(std::net::SocketAddr, std::net::SocketAddr),
    watchdog: &OnceCell<Watchdog>,
) -> Result<(), ServeError> {
    let mut end =
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    let hangup = signal(SignalKind::hangup())?;
    let keeping = Keeping::begin(&gateway).await;
    if gateway.settings().exposed && !gateway.auth.is_unsure() {
        keeping.end().await;
        return Err(ServeError::Exposed);
    }
    let servers = http::bind(&gateway)?;
    tracing::info!(data = %servers.data_address, admin = %servers.admin_address, "listening");
    ready(servers.data_address, servers.admin_address);
    let (data, admin) = (servers.data.handle(), servers.admin.handle());
    let running = http::spawn(servers.data);
    let admin_running = http::spawn(servers.admin);
    let reloading = http::spawn(reload_when_asked(gateway.clone(), hangup));
    let giving_back = http::spawn({
        let gateway = gateway.clone();
        async move { give_back_after_rushes(&gateway).await }
    });

    let delay = match end.next().await {
        Ended::Terminated => gateway.settings().server.drain_delay,
        Ended::Interrupted => Duration::ZERO,
    };
    let timeout = gateway.reloads.started().server.drain_timeout;
    // Before anything that could hang, and a log can.
    let started = Watchdog::start(delay + timeout + EXIT_MARGIN, give_up)?;
    watchdog.get_or_init(|| started);
    gateway.begin_drain();
    tracing::info!(delay_s = delay.as_secs(), timeout_s = timeout.as_secs(), "draining");
    let drained = async {
        tokio::time::sleep(delay).await;
        let goodbye = async {
            tokio::time::sleep(timeout - GOODBYE_BEFORE_END.min(timeout / 2)).await;
            gateway.drain.say_goodbye();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = data.stop(true) => {}
            () = goodbye => {}
        }
        let stopped = running.await.map_err(io::Error::other).and_then(|result| result);
        reloading.abort();
        giving_back.abort();
        admin.stop(true).await;
        stopped.and(admin_running.await.map_err(io::Error::other).and_then(|result| result))
    };
    let stopped = tokio::select! {
        stopped = drained => stopped,
        _ = end.next() => Err(io::Error::other("a second signal cut the drain short")),
    };
    keeping.end().await;
    tracing::info!(clean = stopped.is_ok(), "stopped");
    Ok(stopped?)
}

/// Reloads at every SIGHUP and every change of a file, for as long as it is polled.
async fn reload_when_asked(gateway: Arc<Gateway>, mut hangup: Signal) {
    let source = gateway.reloads.source();
    let watch =
        source.and_then(|source| Watch::begin(gateway.clone(), source.held.clone()).map_err(warn_blind).ok());
    loop {
        let changed = async {
            match &watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let trigger = tokio::select! {
            _ = hangup.recv() => Trigger::Signal,
            () = changed => Trigger::Files,
            () = gateway.reloads.settled() => {
                watch.iter().for_each(Watch::look_again);
                continue;
            }
        };
        if reload(&gateway, trigger).await.is_none() {
            tracing::warn!("there is no configuration to read again");
        }
    }
}

fn warn_blind(error: Box<dyn std::error::Error + Send + Sync>) {
    tracing::warn!(%error, "files are not watched; reload by SIGHUP or the admin API");
}

/// Which signal asked for the end.
enum Ended {
    Terminated,
    Interrupted,
}

/// The signals that ask for the end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> Ended {
        tokio::select! {
            _ = self.terminate.recv() => Ended::Terminated,
            _ = self.interrupt.recv() => Ended::Interrupted,
        }
    }
}

/// Ends the process when it is not dropped in time: a thread of its own, for any other may be what hangs.
struct Watchdog(#[expect(dead_code, reason = "dropping it is the word")] Sender<()>);

impl Watchdog {
    fn start(grace: Duration, end: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (sender, dropped): (Sender<()>, Receiver<()>) = channel();
        std::thread::Builder::new().name("headgate-watchdog".to_owned()).spawn(move || {
            if dropped.recv_timeout(grace) == Err(RecvTimeoutError::Timeout) {
                end();
            }
        })?;
        Ok(Self(sender))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what hangs will never be dropped, so there is nothing to wait for"
)]
fn give_up() {
    let (sender, said) = channel();
    let last_word = std::thread::Builder::new().spawn(move || {
        tracing::error!("something hangs past the end of the drain: ending the process");
        drop(sender);
    });
    if last_word.is_ok() && said.recv_timeout(LAST_WORD) == Ok(()) {
        tracing::debug!("said");
    }
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_bites_after_its_time_and_not_before_and_never_once_dropped() {
        let (bitten, bite) = channel();
        let calm = Watchdog::start(Duration::from_secs(3600), || panic!("it was dropped")).unwrap();
        let _watchdog = Watchdog::start(Duration::from_millis(20), move || bitten.send(()).unwrap()).unwrap();
        drop(calm);
        assert_eq!(bite.recv_timeout(Duration::from_secs(10)), Ok(()));
    }
}
