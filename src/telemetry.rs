//! Logs and spans.
//!
//! One line per request comes from [`crate::settle::Record`]; text on a terminal, JSON otherwise. Spans follow the
//! OpenTelemetry conventions for generative AI: one server span per request, one client span per attempt. They cost nothing
//! until a subscriber wants them, so the log's own layer leaves them out unless it is asked for `debug`.

mod json;

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing::{Span, info_span};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry};

use crate::call::RequestId;
use crate::clock::Clock;
use crate::config::checked::{Log, LogFormat};
use crate::pool::Lease;

use json::JsonLine;

/// Starts logging to standard error; later calls change nothing.
pub fn start(log: &Log) {
    start_in(log, BoxMakeWriter::new(std::io::stderr), std::io::stderr().is_terminal());
}

/// Starts logging to a file, which begins anew; later calls change nothing.
///
/// # Errors
/// A file that cannot be written.
pub fn start_in_file(log: &Log, file: &Path) -> std::io::Result<()> {
    let file = std::fs::File::create(file)?;
    start_in(log, BoxMakeWriter::new(Mutex::new(file)), false);
    Ok(())
}

fn start_in(log: &Log, writer: BoxMakeWriter, for_people: bool) {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(log.level.as_str());
    let spans = filter.max_level_hint().is_some_and(|level| level >= LevelFilter::DEBUG);
    let filter = filter.and(filter_fn(move |metadata| spans || metadata.is_event()));
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !for_people,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = if for_people { layer } else { layer.with_ansi(false) };
    let layer =
        if json { layer.event_format(JsonLine { clock: Clock::machine() }).boxed() } else { layer.boxed() };
    let started = Registry::default().with(layer.with_filter(filter)).try_init();
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

/// The server span of one request.
#[must_use]
pub fn request_span(id: &RequestId, operation: &'static str) -> Span {
    info_span!(
        "request",
        otel.kind = "server",
        otel.name = operation,
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = "anthropic",
        headgate.request_id = id.as_str(),
    )
}

/// The client span of one attempt.
#[must_use]
pub fn attempt_span(lease: &Lease, number: u32) -> Span {
    let candidate = lease.candidate();
    info_span!(
        "attempt",
        otel.kind = "client",
        otel.name = "attempt",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = "anthropic",
        gen_ai.request.model = &*candidate.upstream_model,
        headgate.backend = %candidate.upstream.settings.name,
        headgate.key = %candidate.seat.id.name,
        headgate.attempt = number,
    )
}
