//! `headgate events`: what happens in a gateway, as it happens.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use headgate::operate::events::{Event, Reader};
use headgate::operate::printable::printable;
use headgate::operate::{Ask, Trouble};
use serde_json::{Value, json};

use super::session::{Done, Reach, Session, note, run, say};
use super::show::scalar;

/// Longest silence: the gateway sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// First and longest pause before the stream is opened again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// Follow parks, breakers, failovers, reloads and changes until interrupted.
#[derive(Args)]
#[command(after_help = "Examples:
  headgate events
  headgate events --kind park,breaker --json | jq .data")]
pub struct Events {
    #[command(flatten)]
    reach: Reach,
    /// Only these: park, unpark, breaker, failover, reload, change, key.
    #[arg(long, value_name = "KIND,...")]
    kind: Option<String>,
    /// Begin after the event of this number.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

impl Events {
    pub fn run(self) -> ExitCode {
        run(&self.reach, async |at| self.follow(at).await)
    }

    /// A stream that ends is opened again where it ended; only what would fail again for ever ends it.
    async fn follow(&self, at: &Session) -> Done {
        let (mut last, mut pause, mut begun) = (self.after.clone(), PAUSES.0, false);
        loop {
            let heard = self.listen(at, &mut last, &mut begun).await;
            let why = match heard {
                Ok(true) => {
                    pause = PAUSES.0;
                    "the stream ended".to_owned()
                }
                Ok(false) => "the stream ended".to_owned(),
                Err(trouble @ (Trouble::Lost(_) | Trouble::Unreachable(_))) if begun => trouble.to_string(),
                Err(Trouble::Problem(problem)) if begun && problem.status >= 500 => problem.to_string(),
                Err(trouble) => return Err(trouble),
            };
            note(&format!("headgate: {why}; going on"));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Reads one stream to its end; whether an event came.
    async fn listen(
        &self,
        at: &Session,
        last: &mut Option<String>,
        begun: &mut bool,
    ) -> Result<bool, Trouble> {
        let mut ask = Ask::get("/events").query("kind", self.kind.clone());
        ask.headers.push(("accept", "text/event-stream".to_owned()));
        ask.headers.extend(last.clone().map(|id| ("last-event-id", id)));
        let mut stream = at.client.open(&ask).await?;
        *begun = true;
        let (mut reader, mut heard) = (Reader::default(), false);
        while let Some(bytes) = stream.next(SILENCE).await? {
            for event in reader.feed(&bytes) {
                say(&shown(&event, at.json))?;
                heard = true;
                if let Some(id) = event.id {
                    *last = Some(id);
                }
            }
        }
        Ok(heard)
    }
}

fn shown(event: &Event, as_json: bool) -> String {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_| event.data.as_str().into());
    if as_json {
        return json!({ "id": event.id, "event": event.kind, "data": data }).to_string();
    }
    let Some(fields) = data.as_object() else {
        return format!("{:<9} {}", printable(&event.kind), scalar(&data));
    };
    let at = fields.get("at").map_or_else(String::new, |at| format!("{} ", scalar(at)));
    let rest = fields.iter().filter(|(name, value)| name.as_str() != "at" && !value.is_null());
    let rest: Vec<String> =
        rest.map(|(name, value)| format!("{}={}", printable(name), scalar(value))).collect();
    format!("{at}{:<9} {}", printable(&event.kind), rest.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let data = r#"{"at":"2026-11-01T08:00:00Z","key":"a\n\u001b[2J","reason":null,"remaining_ms":5}"#;
        let event = Event { id: Some("7".to_owned()), kind: "park".to_owned(), data: data.to_owned() };
        assert_eq!(shown(&event, false), "2026-11-01T08:00:00Z park      key=a\\n\\u{1b}[2J remaining_ms=5");
        let line = shown(&event, true);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert!(!line.contains('\n') && value["id"] == "7" && value["data"]["remaining_ms"] == 5);
    }
}
