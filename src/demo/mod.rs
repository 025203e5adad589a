//! `headgate demo`: the gateway at work, with nothing from outside.
//!
//! A simulated upstream of three providers and eight keys (`stage`), the gateway over it through its real data plane,
//! callers on real sockets (`traffic`), and misfortunes step by step (`story`). Ten times a second everything is looked
//! at once (`reading`, `board`) and shown: on a terminal live (`view`), else in `lines`. At the end, a `summary`.
//!
//! Upstream, callers and gateway have threads of their own; this module runs on the main thread.

pub mod board;
mod lines;
mod reading;
mod stage;
mod story;
mod summary;
mod tally;
mod terminal;
mod traffic;
mod view;

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::chance::Chance;
use crate::clock::{Clock, Moment};
use crate::gateway::Gateway;
use crate::simulator::{Control, Simulator};
use crate::{http, telemetry};

use board::{Board, Event, EventKind};
use lines::Lines;
use story::Story;
use terminal::{Keyboard, Screen, Wish};
use traffic::Traffic;
use view::Scene;

pub use story::SECONDS;

/// How often everything is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What may be chosen.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the story takes.
    pub length: Duration,
    /// Lines instead of the live view, also on a terminal.
    pub plain: bool,
    /// Where the gateway's log goes; by default nowhere, for it would garble the view.
    pub log: Option<PathBuf>,
}

/// Runs the demo to its end; true when no caller saw an error.
///
/// # Errors
/// Sockets, threads or a terminal that cannot be had.
pub fn run(options: &Options) -> io::Result<bool> {
    let upstream = runtime("upstream")?;
    let running = upstream.block_on(Simulator::start(stage::upstream(), stage::free()))?;
    let callers = runtime("callers")?;
    let good = http::block_on(play(options, &running.url(), running.control(), callers.handle()));
    callers.shutdown_background();
    upstream.shutdown_background();
    good
}

fn runtime(name: &str) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build()
}

async fn play(options: &Options, url: &str, upstream: Control, callers: &Handle) -> io::Result<bool> {
    let clock = Clock::machine();
    let (gateway, servers) = open_gateway(url, clock)?;
    if let Some(file) = &options.log {
        telemetry::start_in_file(&gateway.settings().log, file)?;
    }
    let (data, address) = (servers.data.handle(), servers.data_address);
    let admin = servers.admin.handle();
    let ends = [http::spawn(servers.data), http::spawn(servers.admin)];

    let traffic = Traffic::start(callers, address, clock);
    let mut show = Show {
        live: io::stdout().is_terminal() && io::stdin().is_terminal() && !options.plain,
        board: Board::default(),
        story: Story::new(options.length),
        start: clock.now(),
        gateway,
        address,
        upstream,
        traffic,
        ticks: ticks(),
        signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?],
    };
    let quit = if show.live { show.tell_live().await? } else { show.tell_in_lines().await? };
    show.traffic.stop().await;
    show.look();
    let figures = show.traffic.tally().figures();
    say(&summary::summary(&show.board, &figures))?;
    if show.live && !quit {
        show.stay().await?;
    }

    show.gateway.begin_drain();
    data.stop(true).await;
    admin.stop(false).await;
    for end in ends {
        end.await.map_err(io::Error::other)??;
    }
    Ok(figures.errors == 0)
}

/// The gateway on the usual addresses, or on free ones where somebody has those.
fn open_gateway(url: &str, clock: Clock) -> io::Result<(Arc<Gateway>, http::Servers)> {
    let open = |listen| {
        let settings = stage::settings(url, listen).map_err(io::Error::other)?;
        let gateway = Gateway::new(settings, clock, Chance::machine()).map_err(io::Error::other)?;
        let gateway = Arc::new(gateway);
        http::bind(&gateway).map(|servers| (gateway, servers))
    };
    open(stage::addresses()).or_else(|_| open((stage::free(), stage::free())))
}

fn ticks() -> Interval {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Everything on show.
struct Show {
    live: bool,
    board: Board,
    story: Story,
    start: Moment,
    gateway: Arc<Gateway>,
    address: SocketAddr,
    upstream: Control,
    traffic: Traffic,
    ticks: Interval,
    signals: [Signal; 2],
}

impl Show {
    /// Tells the story on the whole screen; true when somebody wants to quit.
    async fn tell_live(&mut self) -> io::Result<bool> {
        let mut screen = Screen::open()?;
        loop {
            self.go_on();
            self.look();
            screen.draw(&self.scene("q quit"))?;
            let quit = self.tick().await || terminal::wish()? == Some(Wish::Quit);
            if quit || self.is_over() {
                return Ok(quit);
            }
        }
    }

    /// Tells the story in lines; true when somebody wants to quit.
    async fn tell_in_lines(&mut self) -> io::Result<bool> {
        let seconds = self.story.length().as_secs();
        say(&format!(
            "headgate demo: the gateway is http://{}, the story takes {seconds} s\n\n",
            self.address
        ))?;
        let mut lines = Lines::new(io::stdout(), self.start);
        loop {
            let mut events: Vec<Event> = self.go_on().into_iter().collect();
            events.extend(self.look());
            lines.show(&self.board, &events)?;
            let quit = self.tick().await;
            if quit || self.is_over() {
                return Ok(quit);
            }
        }
    }

    /// Stays up for whoever wants to try the gateway, with the live view at hand.
    async fn stay(&mut self) -> io::Result<()> {
        say(&summary::try_this(self.address))?;
        say("The gateway stays up. Press v for the live view, q to quit.\n")?;
        let keyboard = Keyboard::open()?;
        let mut screen: Option<Screen> = None;
        loop {
            self.look();
            if let Some(screen) = &mut screen {
                screen.draw(&self.scene("q quit   v back to the text"))?;
            }
            if self.tick().await {
                break;
            }
            match terminal::wish()? {
                Some(Wish::Quit) => break,
                Some(Wish::View) if screen.is_some() => {
                    screen = None;
                    crossterm::terminal::enable_raw_mode()?;
                }
                Some(Wish::View) => screen = Some(Screen::open()?),
                None => {}
            }
        }
        drop((screen, keyboard));
        Ok(())
    }

    /// The story goes on; returns the event of a new step.
    fn go_on(&mut self) -> Option<Event> {
        let at = self.gateway.clock.now();
        if !self.story.go_on(at.since(self.start), &self.upstream) {
            return None;
        }
        let (number, step) = self.story.step();
        let text = format!("{number}/{} {}. {}", story::STEPS.len(), step.title, step.text);
        let event = Event { at, kind: EventKind::Story, text };
        self.board.note(Event { text: step.title.to_owned(), ..event.clone() });
        Some(event)
    }

    fn look(&mut self) -> Vec<Event> {
        self.board.look(reading::take(&self.gateway, &self.upstream, self.traffic.tally()))
    }

    fn is_over(&self) -> bool {
        self.story.is_over(self.gateway.clock.now().since(self.start))
    }

    /// Waits for the next look; true when a signal asks for the end.
    async fn tick(&mut self) -> bool {
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            _ = self.ticks.tick() => false,
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
        }
    }

    fn scene<'a>(&'a self, keys: &'a str) -> Scene<'a> {
        Scene { board: &self.board, story: &self.story, start: self.start, gateway: self.address, keys }
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
