//! `headgate usage`: what was used, and what it cost.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use headgate::clock::Clock;
use headgate::operate::pages::Pages;
use headgate::operate::span::{before, moment, span};
use headgate::operate::{Ask, Trouble};
use serde_json::Value;

use super::resource::items;
use super::session::{Done, Reach, Session, note, pass, run, say};
use super::show::{self, scalar};

/// Rows asked for at once as CSV, the most that the API gives.
const CSV_ROWS: usize = 10_000;
/// Longest silence within a download.
const SILENCE: Duration = Duration::from_secs(60);

/// Columns in the order in which people read them; the gateway's others follow.
const ORDER: [&str; 14] = [
    "start",
    "tenant",
    "key",
    "backend",
    "model",
    "requests",
    "failed",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cost_usd",
    "unpriced",
];
/// The cost once more, exact: for programs.
const EXACT_COST: &str = "cost_nano_usd";

/// Show usage and cost, by whatever is asked for.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  headgate usage --by tenant,model --last 24h
  headgate usage --by day --tenant acme --from 2026-11-01 --csv > november.csv
  headgate usage export --format jsonl --from 2026-11-01 --output november.jsonl")]
pub struct Usage {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    export: Option<Verb>,
    #[command(flatten)]
    summary: Summary,
}

#[derive(Subcommand)]
enum Verb {
    /// Every request's record, for other programs.
    Export(Export),
}

#[derive(Args)]
struct Summary {
    /// What to count by: tenant, key, backend, model, hour, day.
    #[arg(long, value_name = "NAME,...")]
    by: Option<String>,
    /// Print CSV.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    range: Range,
}

#[derive(Args)]
struct Export {
    /// The form of the records.
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    format: Format,
    /// Write to this file, which appears when it is complete.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    range: Range,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Csv,
    Jsonl,
}

/// Which requests count.
#[derive(Args)]
struct Range {
    /// From this moment on: 2026-11-01 or 2026-11-01T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<String>,
    /// Before this moment.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<String>,
    /// The last 24h, 30m, 7d.
    #[arg(long, value_name = "TIME", value_parser = span, conflicts_with = "from")]
    last: Option<Duration>,
    /// Only of this tenant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Only of this key.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Only of this backend.
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Only of this model.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
}

impl Range {
    fn query(&self) -> Result<Vec<(&'static str, String)>, Trouble> {
        let last = self.last.map(|span| {
            before(Clock::machine().wall(), span)
                .ok_or_else(|| Trouble::Arguments("--last goes back too far".to_owned()))
        });
        let given = [
            ("from", last.transpose()?.or_else(|| self.from.clone())),
            ("to", self.to.clone()),
            ("tenant", self.tenant.clone()),
            ("key", self.key.clone()),
            ("backend", self.backend.clone()),
            ("model", self.model.clone()),
        ];
        Ok(given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

impl Usage {
    pub fn run(self) -> ExitCode {
        let Self { reach, export, summary } = self;
        run(&reach, async |at| match &export {
            Some(Verb::Export(export)) => export.run(at).await,
            None => summary.run(at).await,
        })
    }
}

impl Summary {
    async fn run(&self, at: &Session) -> Done {
        let mut query = self.range.query()?;
        query.extend(self.by.clone().map(|by| ("by", by)));
        if self.csv {
            return csv(at, &query).await;
        }
        let pages = Pages::read(&at.client, "/usage", &query, usize::MAX).await?;
        if at.json {
            return say(&pages.document());
        }
        let rows = items(&pages)?;
        if rows.is_empty() {
            note("no usage");
            return Ok(());
        }
        say(&tabled(&rows))
    }
}

/// Sums as CSV, page by page: `after` counts rows.
async fn csv(at: &Session, query: &[(&'static str, String)]) -> Done {
    let mut seen = 0;
    loop {
        let ask = Ask { query: query.to_vec(), ..Ask::get("/usage") };
        let ask = ask.query("format", Some("csv")).query("limit", Some(CSV_ROWS.to_string()));
        let body = at.client.ask(&ask.query("after", (seen > 0).then(|| seen.to_string()))).await?.body;
        // Every page begins with the names of its columns.
        let head = body.iter().position(|byte| *byte == b'\n').map_or(body.len(), |end| end + 1);
        pass(if seen == 0 { &body } else { &body[head..] })?;
        let rows = ::csv::Reader::from_reader(&body[..]).into_byte_records().count();
        seen += rows;
        if rows < CSV_ROWS {
            return Ok(());
        }
    }
}

/// Rows of whatever columns the gateway counted by.
fn tabled(rows: &[Value]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for row in rows.iter().filter_map(Value::as_object) {
        let flat = row.iter().filter(|(_, value)| !value.is_object() && !value.is_null());
        for name in flat.map(|(name, _)| name.as_str()) {
            if name != EXACT_COST && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.sort_by_key(|name| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
    let headings: Vec<String> = names.iter().map(|name| name.replace('_', "-").to_uppercase()).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let cells =
        |row: &Value| names.iter().map(|name| scalar(row.get(*name).unwrap_or(&Value::Null))).collect();
    show::lines(&headings, rows.iter().map(cells).collect())
}

impl Export {
    async fn run(&self, at: &Session) -> Done {
        let format = match self.format {
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
        };
        let ask =
            Ask { query: self.range.query()?, ..Ask::get("/usage/records") }.query("format", Some(format));
        let Some(output) = self.output.as_deref().filter(|output| *output != Path::new("-")) else {
            return download(at, &ask, &mut |bytes| pass(bytes)).await;
        };
        let wrong = |error: std::io::Error| {
            Trouble::Local(format!("{}: cannot be written: {error}", output.display()))
        };
        let mut part = output.as_os_str().to_owned();
        part.push(".part");
        let mut file = File::create(&part).map_err(wrong)?;
        let done = download(at, &ask, &mut |bytes| file.write_all(bytes).map_err(wrong)).await;
        let done = done.and_then(|()| file.sync_all().map_err(wrong));
        if done.is_err() {
            // Half an export would be taken for a whole one.
            drop(std::fs::remove_file(&part));
            return done;
        }
        std::fs::rename(&part, output).map_err(wrong)
    }
}

/// Hands on an answer of any length as it comes.
async fn download(at: &Session, ask: &Ask, take: &mut dyn FnMut(&[u8]) -> Done) -> Done {
    let mut opened = at.client.open(ask).await?;
    while let Some(bytes) = opened.next(SILENCE).await? {
        take(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_stand_in_the_order_people_read_them() {
        let rows = [
            json!({ "cost_usd": 1.5, "tenant": "acme", "requests": 3, "later": 1, "detail": {} }),
            json!({ "tenant": "b", "requests": 1, "cost_usd": null }),
        ];
        let text = tabled(&rows);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["TENANT", "REQUESTS", "COST-USD", "LATER"]);
        assert_eq!(lines[2], ["b", "1", "-", "-"]);
    }
}
