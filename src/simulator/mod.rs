//! A faithful fake of the Messages API at Anthropic, on Bedrock and on Vertex, with real token-bucket limits and every fault a gateway must survive.
//!
//! It serves `headgate demo`, `headgate simulate` and tests. A prompt may direct its own answer
//! ([`[[sim:scenario=tools]]`](marker)), rules strike requests with [faults](fault), and everything received is on
//! [`record`]. Decisions are pure (buckets, rules, answers, staging); `server`, `http` and `socket` do the I/O.
//! Sound answers go through hyper; faulty ones are written by hand (`staged`).

pub mod answer;
pub mod bedrock;
mod body;
mod bucket;
mod clock;
pub mod config;
pub mod control;
pub mod dialect;
mod dice;
mod error;
mod events;
mod exchange;
pub mod fault;
mod headers;
mod hosted;
mod http;
pub mod marker;
mod messages;
mod mishap;
mod models;
mod organization;
mod owner;
mod prose;
pub mod record;
mod reply;
mod request;
mod roster;
mod script;
mod server;
mod socket;
mod staged;
pub mod vertex;
mod weigh;
mod world;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use config::SimulatorConfig;
pub use dialect::Dialect;
pub use fault::{Fault, FaultKind, FaultRule, Knobs, RetrySyntax};
pub use record::{Ending, KeyStats, Recorded, Stats};
pub use world::Control;

use world::World;

/// Starts simulators.
#[derive(Debug)]
pub struct Simulator;

impl Simulator {
    /// Starts one on the current tokio runtime. Port 0 picks a free one.
    pub async fn start(config: SimulatorConfig, listen: SocketAddr) -> io::Result<RunningSimulator> {
        Self::launch(config, listen, None).await
    }

    /// Starts one that speaks TLS.
    pub async fn start_tls(
        config: SimulatorConfig,
        listen: SocketAddr,
        tls: TlsAcceptor,
    ) -> io::Result<RunningSimulator> {
        Self::launch(config, listen, Some(tls)).await
    }

    async fn launch(
        config: SimulatorConfig,
        listen: SocketAddr,
        tls: Option<TlsAcceptor>,
    ) -> io::Result<RunningSimulator> {
        let listener = server::bind(listen).await?;
        let addr = listener.local_addr()?;
        let world = Arc::new(World::new(config));
        let stop = CancellationToken::new();
        tokio::spawn(server::accept(listener, tls, Arc::clone(&world), stop.clone()));
        Ok(RunningSimulator { addr, control: Control { world }, stop })
    }
}

/// A simulator at work. Dropping it stops it and breaks its connections.
#[derive(Debug)]
pub struct RunningSimulator {
    addr: SocketAddr,
    control: Control,
    stop: CancellationToken,
}

impl RunningSimulator {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL for clients (plain HTTP).
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it received.
    pub fn stats(&self) -> Stats {
        self.control.stats()
    }

    /// The requests that are still kept, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.control.requests()
    }

    /// A handle that changes it live.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Stops it.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for RunningSimulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves until the future is dropped.
pub async fn run(listen: SocketAddr, config: SimulatorConfig) -> io::Result<()> {
    let running = Simulator::start(config, listen).await?;
    running.stop.cancelled().await;
    Ok(())
}
