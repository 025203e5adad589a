//! The summary: what the run proved, in figures, and what to try next.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::board::Board;
use super::tally::{Figures, Percentiles};

/// The figures of a run.
#[must_use]
pub fn summary(board: &Board, figures: &Figures) -> String {
    let faults = board.other_faults();
    let kinds: Vec<String> = faults.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!("  ({})", kinds.join(", ")) };
    let whole = figures.finished.saturating_sub(figures.streamed + figures.errors);
    let providers: Vec<String> =
        board.now.providers.iter().map(|(provider, count)| format!("{provider}: {count}")).collect();
    let rows = [
        ("requests", format!("{}  ({} streamed, {whole} whole)", figures.finished, figures.streamed)),
        ("caller-visible errors", figures.errors.to_string()),
        ("upstream 429s absorbed", board.rate_limits().to_string()),
        ("other faults absorbed", format!("{}{kinds}", faults.values().sum::<u64>())),
        ("failovers", format!("{}  ({} of them to another backend)", figures.retried, board.now.failovers)),
        ("attempts by provider", providers.join(", ")),
        ("latency", percentiles(figures.latency)),
        ("time to first token", percentiles(figures.first_token)),
    ];
    let mut text = "\nSummary\n".to_owned();
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<24}{value}");
    }
    if let Some(error) = figures.last_error.as_ref().filter(|_| figures.errors > 0) {
        let _ = writeln!(text, "  {:<24}{error}", "last error");
    }
    text
}

/// What a first user tries at the gateway on `data`.
#[must_use]
pub fn try_this(data: SocketAddr) -> String {
    format!(
        r#"
Try it:

  curl http://{data}/v1/messages \
    -H 'content-type: application/json' -H 'anthropic-version: 2023-06-01' \
    -d '{{"model":"claude-sonnet-5-5","max_tokens":64,
         "messages":[{{"role":"user","content":"Hello"}}]}}'

or in Python (pip install anthropic):

  import anthropic
  client = anthropic.Anthropic(base_url="http://{data}", api_key="any")
  with client.messages.stream(
      model="claude-sonnet-5-5",
      max_tokens=64,
      messages=[{{"role": "user", "content": "Hello"}}],
  ) as stream:
      for text in stream.text_stream:
          print(text, end="", flush=True)

"#
    )
}

fn percentiles(percentiles: Option<Percentiles>) -> String {
    percentiles.map_or_else(
        || "-".to_owned(),
        |Percentiles { p50, p95, p99 }| {
            let [p50, p95, p99] = [p50, p95, p99].map(|span| span.as_millis());
            format!("p50 {p50} ms, p95 {p95} ms, p99 {p99} ms")
        },
    )
}
