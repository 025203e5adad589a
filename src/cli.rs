//! Arguments -> one command -> an exit code.
//!
//! Exit codes: 0 after a clean end, 1 when something failed or a drain was cut short, 2 for wrong arguments, 69 when a gateway
//! cannot be reached, 77 when it refuses the token, 78 (`EX_CONFIG` of sysexits) for a configuration that cannot be used. The
//! commands that operate a running gateway have a file each; [`session`] is how they reach it.

mod backends;
mod document;
mod events;
mod export;
mod groups;
mod keys;
mod plane;
mod resource;
mod routes;
mod session;
mod show;
mod source;
mod tenants;
mod tokens;
mod usage;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use headgate::chance::Chance;
use headgate::clock::Clock;
use headgate::config::{self, Environment};
use headgate::gateway::Gateway;
use headgate::reload::Source;
use headgate::serve::ServeError;
use headgate::simulator::{RunningSimulator, Simulator, SimulatorConfig};
use headgate::{demo, serve, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// `EX_CONFIG` of sysexits.
const BAD_CONFIGURATION: u8 = 78;

/// A gateway for the Claude Messages API over many API keys and several provider backends.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway (the default).
    Serve(Serve),
    /// Run the simulated upstream alone, to test clients against rate limits and faults.
    Simulate(Simulate),
    /// Show the gateway at work over simulated upstreams, with traffic, faults and a live view. Needs nothing from outside.
    Demo(Demo),
    /// Validate a configuration and print what takes effect, secrets redacted.
    Check(Check),
    Keys(keys::Keys),
    Backends(backends::Backends),
    Groups(groups::Groups),
    Routes(routes::Routes),
    Tenants(tenants::Tenants),
    Tokens(tokens::Tokens),
    Usage(Box<usage::Usage>),
    Events(events::Events),
    Audit(plane::Audit),
    Status(plane::Status),
    Reload(plane::Reload),
    Export(export::Export),
    /// Print completions for a shell.
    #[command(after_help = "Examples:
  headgate completions bash > /etc/bash_completion.d/headgate
  headgate completions zsh > ~/.zfunc/_headgate
  headgate completions fish > ~/.config/fish/completions/headgate.fish")]
    Completions {
        shell: clap_complete::Shell,
    },
}

#[derive(Args)]
struct Serve {
    /// A configuration file; later ones win. Without any: built-in defaults and keys from the usual variables.
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Serve over a built-in simulated upstream instead of real ones, and print what to try.
    #[arg(long)]
    simulate: bool,
}

#[derive(Args)]
struct Simulate {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// The simulator's own configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct Demo {
    /// How long the story takes.
    #[arg(long, value_name = "N", default_value_t = demo::SECONDS, value_parser = clap::value_parser!(u64).range(4..=3600))]
    seconds: u64,
    /// Plain lines instead of the live view, also on a terminal; ends by itself.
    #[arg(long)]
    plain: bool,
    /// Write the gateway's log to this file; by default there is none.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

#[derive(Args)]
struct Check {
    /// A configuration file; later ones win.
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the command that the process's arguments name.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => run_serve(&cli.serve),
        Some(Command::Serve(serve)) => run_serve(&serve),
        Some(Command::Simulate(simulate)) => run_simulate(&simulate),
        Some(Command::Demo(demo)) => run_demo(demo),
        Some(Command::Check(check)) => run_check(&check),
        Some(Command::Keys(keys)) => keys.run(),
        Some(Command::Backends(backends)) => backends.run(),
        Some(Command::Groups(groups)) => groups.run(),
        Some(Command::Routes(routes)) => routes.run(),
        Some(Command::Tenants(tenants)) => tenants.run(),
        Some(Command::Tokens(tokens)) => tokens.run(),
        Some(Command::Usage(usage)) => usage.run(),
        Some(Command::Events(events)) => events.run(),
        Some(Command::Audit(audit)) => audit.run(),
        Some(Command::Status(status)) => status.run(),
        Some(Command::Reload(reload)) => reload.run(),
        Some(Command::Export(export)) => export.run(),
        Some(Command::Completions { shell }) => complete(shell),
    }
}

fn complete(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "headgate", &mut script);
    session::ended(session::pass(&script))
}

fn run_check(check: &Check) -> ExitCode {
    match config::check(&check.files, &Environment::of_process()) {
        Ok(effective) => say(&effective),
        Err(error) => refuse_configuration(&error),
    }
}

fn run_simulate(simulate: &Simulate) -> ExitCode {
    let config = match simulate.config.as_deref().map(SimulatorConfig::load) {
        None => SimulatorConfig::default(),
        Some(Ok(config)) => config,
        Some(Err(error)) => return refuse_configuration(&error),
    };
    let listen = simulate.listen;
    in_system(async move {
        // As a container's first process it would not hear of it otherwise.
        let mut terminate = signal(SignalKind::terminate())?;
        let running = Simulator::start(config, listen).await?;
        say(&format!("simulating the Messages API, Amazon Bedrock and Vertex AI on {}\n", running.url()));
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    })
}

fn run_demo(demo: Demo) -> ExitCode {
    let length = std::time::Duration::from_secs(demo.seconds);
    let plain = demo.plain || cannot_be_drawn_on(&Environment::of_process());
    match demo::run(&demo::Options { length, plain, log: demo.log }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever reads may have gone (`| head`); that is no failure of ours.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Whether the terminal says that it takes lines only, as an editor's shell does.
fn cannot_be_drawn_on(environment: &Environment) -> bool {
    environment.get("TERM") == Some("dumb")
}

fn run_serve(arguments: &Serve) -> ExitCode {
    let environment = Environment::of_process();
    let simulator = match arguments.simulate.then(start_simulator).transpose() {
        Ok(simulator) => simulator,
        Err(error) => return fail(&error),
    };
    let environment = match &simulator {
        None => environment,
        Some((_, running)) => {
            let environment = environment.with_upstream(&running.url(), &simulated_keys());
            if arguments.files.is_empty() { environment.with_store_in_memory() } else { environment }
        }
    };
    let (source, settings) = match Source::load(arguments.files.clone(), environment) {
        Ok(loaded) => loaded,
        Err(error) => return refuse_configuration(&error),
    };
    telemetry::start(&settings.log);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let gateway = match Gateway::new(settings, Clock::machine(), Chance::machine()) {
        Ok(gateway) => Arc::new(gateway),
        Err(error) => return fail(&error),
    };
    gateway.reloads.set_source(source);
    let simulated = simulator.is_some();
    let served = serve::serve(gateway, move |data, _| {
        if simulated {
            say(&try_this(data));
        }
    });
    drop(simulator);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ ServeError::Exposed) => refuse_configuration(&error),
        Err(ServeError::Io(error)) => fail(&error),
    }
}

/// The simulated upstream on a runtime of its own, so that it takes nothing from the gateway's workers.
fn start_simulator() -> std::io::Result<(tokio::runtime::Runtime, RunningSimulator)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let running = runtime.block_on(Simulator::start(SimulatorConfig::default(), listen))?;
    Ok((runtime, running))
}

fn simulated_keys() -> Vec<String> {
    let organizations = SimulatorConfig::default().organizations;
    organizations.into_iter().flat_map(|organization| organization.keys).map(|key| key.secret).collect()
}

/// What a first user tries.
fn try_this(data: SocketAddr) -> String {
    format!(
        r#"
Headgate serves http://{data} over a simulated upstream with {keys} keys. Try it:

  curl http://{data}/v1/messages -H 'content-type: application/json' -H 'anthropic-version: 2023-06-01' \
    -d '{{"model":"claude-sonnet-4-5","max_tokens":64,"messages":[{{"role":"user","content":"Hello"}}]}}'

or in Python (pip install anthropic):

  import anthropic
  client = anthropic.Anthropic(base_url="http://{data}", api_key="any")
  with client.messages.stream(model="claude-sonnet-4-5", max_tokens=64,
                              messages=[{{"role": "user", "content": "Hello"}}]) as stream:
      for text in stream.text_stream:
          print(text, end="", flush=True)

"#,
        keys = simulated_keys().len()
    )
}

fn in_system(work: impl Future<Output = std::io::Result<()>>) -> ExitCode {
    match headgate::http::block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn say(text: &str) -> ExitCode {
    // Whoever reads may have gone (`| head`); that is no failure of ours.
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    match out.write_all(text.as_bytes()) {
        Ok(()) | Err(_) => {}
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    complain(&format!("headgate: {error}\n"));
    ExitCode::FAILURE
}

fn refuse_configuration(error: &dyn std::error::Error) -> ExitCode {
    complain(&format!("headgate: the configuration cannot be used:\n{error}\n"));
    ExitCode::from(BAD_CONFIGURATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_takes_lines_only_gets_lines() {
        let of = |name| cannot_be_drawn_on(&Environment::from_iter([("TERM", name)]));
        assert!(of("dumb") && !of("xterm-256color") && !cannot_be_drawn_on(&Environment::default()));
    }
}
