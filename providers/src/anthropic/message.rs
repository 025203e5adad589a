//! What an error body says: type, machine code, message, and what can be read from the message's wording.
//!
//! Wording is the last resort, used only where the protocol has nothing better. Texts that accuse a key or its organization
//! are matched at the start of the message: upstream echoes parts of the caller's input in its complaints, and no caller shall
//! be able to talk a key out of service.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use serde_json::Value;

use crate::fault::Dimension;

/// The facts of an error body; texts are empty where it does not say.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// `error.type`.
    pub error_type: String,
    /// `error.details.error_code`.
    pub code: String,
    /// `error.message`, else the body itself where it is short plain text.
    pub message: String,
    /// The message in lower case.
    pub lower: String,
    /// Whether it is the Messages API's own envelope.
    pub is_envelope: bool,
    /// Whether it is a JSON object at all: an API answered, not a web server.
    pub is_object: bool,
}

impl Report {
    /// Reads a body; anything is acceptable.
    pub fn read(body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let text =
            |value: &Value, name| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let error = value.get("error").unwrap_or(&Value::Null);
        let error_type = text(error, "type");
        let mut message = text(error, "message");
        let is_envelope = value.get("type").is_some_and(|it| it == "error")
            && !error_type.is_empty()
            && error["message"].is_string();
        if message.is_empty() {
            message = match (error.as_str(), value.get("message").and_then(Value::as_str)) {
                (Some(text), _) | (None, Some(text)) => text.to_owned(),
                (None, None) if value.is_object() => String::new(),
                (None, None) => plain_text(body),
            };
        }
        let code = text(error.get("details").unwrap_or(&Value::Null), "error_code");
        let lower = message.to_lowercase();
        Self { error_type, code, lower, message, is_envelope, is_object: value.is_object() }
    }

    /// Whether the message starts like one of `texts` (lower case).
    pub fn starts(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.lower.starts_with(text))
    }

    /// Whether the message says one of `texts` (lower case) somewhere.
    pub fn says(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.lower.contains(text))
    }

    /// The bucket the message names. Longer spans of time first: "input tokens per day" is a daily quota.
    pub fn dimension(&self) -> Option<Dimension> {
        // Behind this the usual text gives advice that names tokens of all kinds.
        let end =
            self.lower.find("for details").or_else(|| self.lower.find("please ")).unwrap_or(self.lower.len());
        let named = self.lower.get(..end).unwrap_or_default();
        let wordings: [(&[&str], Dimension); 8] = [
            (&["usage increase rate", "acceleration", "increase in usage"], Dimension::Ramp),
            (&["concurren"], Dimension::Concurrent),
            (&["daily", "per day"], Dimension::Day),
            (&["weekly", "per week"], Dimension::Week),
            (&["input token", "input-token", "prompt token"], Dimension::InputTokens),
            (&["output token", "output-token", "completion token"], Dimension::OutputTokens),
            (
                &["requests per", "number of requests", "request rate", "requests limit", "request limit"],
                Dimension::Requests,
            ),
            (
                &["tokens per", "number of tokens", "request tokens", "token limit", "token rate"],
                Dimension::Tokens,
            ),
        ];
        wordings
            .iter()
            .find(|(texts, _)| texts.iter().any(|text| named.contains(text)))
            .map(|(_, dimension)| *dimension)
    }

    /// The moment the message names: `2026-12-01`, with ` at 00:00 UTC` or `T00:00:00Z` or nothing (midnight UTC) behind it, or
    /// `December 1, 2026`.
    pub fn moment(&self) -> Option<SystemTime> {
        let (date, behind) = numeric_date(&self.lower).or_else(|| spelt_date(&self.lower))?;
        let time = time_of_day(behind).unwrap_or(Time::midnight());
        let moment = Offset::UTC.to_timestamp(DateTime::from_parts(date, time)).ok()?;
        (moment > Timestamp::UNIX_EPOCH).then(|| SystemTime::from(moment))
    }

    /// The message as one short line for an operator, with anything that looks like a key left out.
    pub fn line(&self) -> String {
        let words =
            self.message.split_whitespace().map(|word| if word.contains("sk-") { "[secret]" } else { word });
        let mut line = String::new();
        for word in words {
            if line.len() + word.len() > 240 {
                line.push_str(" ...");
                break;
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        line
    }
}

/// The body itself, where it is short text and no markup.
fn plain_text(body: &[u8]) -> String {
    let text = std::str::from_utf8(body).unwrap_or_default().trim();
    if text.len() > 500 || text.starts_with('<') { String::new() } else { text.to_owned() }
}

/// The first `YYYY-MM-DD`, and what follows it.
fn numeric_date(text: &str) -> Option<(Date, &str)> {
    text.match_indices('-').find_map(|(dash, _)| {
        let start = dash.checked_sub(4)?;
        let date = text.get(start..start + 10)?.parse().ok()?;
        Some((date, text.get(start + 10..)?))
    })
}

/// The first `month day, year` in lower case, and what follows it.
fn spelt_date(text: &str) -> Option<(Date, &str)> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    (1_i8..).zip(MONTHS).find_map(|(number, month)| {
        let (_, behind) = text.split_once(&format!("{month} "))?;
        let (day, behind) = behind.split_once(", ")?;
        let year = behind.get(..4)?;
        let date = Date::new(year.parse().ok()?, number, day.parse().ok()?).ok()?;
        Some((date, behind.get(4..)?))
    })
}

/// A time right behind a date: ` at 00:00` or `t00:00`.
fn time_of_day(behind: &str) -> Option<Time> {
    let clock = behind
        .strip_prefix(" at ")
        .or_else(|| behind.strip_prefix('t'))
        .or_else(|| behind.strip_prefix(' '))?;
    let hour = clock.get(..2)?.parse().ok()?;
    let minute = clock.get(2..5)?.strip_prefix(':')?.parse().ok()?;
    // Without its seconds a moment just ahead would count as past.
    let second = clock.get(5..8).and_then(|rest| rest.strip_prefix(':')?.parse().ok());
    Time::new(hour, minute, second.unwrap_or(0), 0).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::Report;
    use crate::fault::Dimension;

    fn saying(message: &str) -> Report {
        Report::read(message.as_bytes())
    }

    #[test]
    fn the_named_bucket_is_found_and_advice_is_not_taken_for_it() {
        let advice = "(org: 1, model: claude-x). For details, refer to: https://docs. Please reduce the prompt length or the maximum tokens requested, or try again later: input tokens";
        for (text, dimension) in [
            (
                "This request would exceed your organization's rate limit of 40,000 input tokens per minute",
                Some(Dimension::InputTokens),
            ),
            (
                "This request would exceed your organization's rate limit of 8,000 output tokens per minute",
                Some(Dimension::OutputTokens),
            ),
            (
                "This request would exceed your organization's rate limit of 50 requests per minute",
                Some(Dimension::Requests),
            ),
            (
                "This request would exceed your organization's maximum usage increase rate for input tokens per minute",
                Some(Dimension::Ramp),
            ),
            ("Number of concurrent connections has exceeded your rate limit", Some(Dimension::Concurrent)),
            ("Number of request tokens has exceeded your daily rate limit", Some(Dimension::Day)),
            ("Number of request tokens has exceeded your per-minute rate limit", Some(Dimension::Tokens)),
            ("Number of requests has exceeded your per-minute rate limit", Some(Dimension::Requests)),
            ("This would exceed your weekly limit", Some(Dimension::Week)),
            ("This request would exceed your account's rate limit", None),
            ("Error", None),
        ] {
            assert_eq!(saying(&format!("{text} {advice}")).dimension(), dimension, "{text}");
        }
    }

    #[test]
    fn moments_are_read_in_the_usual_spellings() {
        let december = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_083_200));
        let half_past = december.map(|moment| moment + Duration::from_secs(9 * 3600 + 1800));
        for (text, moment) in [
            ("You will regain access on 2026-12-01 at 00:00 UTC.", december),
            ("regain access on 2026-12-01.", december),
            ("until 2026-12-01T09:30:00Z", half_past),
            ("until 2026-12-01 09:30", half_past),
            ("access returns on December 1, 2026 at 09:30 UTC", half_past),
            ("access returns on December 1, 2026", december),
            ("claude-opus-4-20250514 is over its limit; back on 2026-12-01", december),
            ("on 2026-13-01", None),
            ("on 1960-01-01", None),
            ("é-----é-é-", None),
            ("may , 20é", None),
            ("", None),
        ] {
            assert_eq!(saying(text).moment(), moment, "{text}");
        }
    }

    #[test]
    fn a_line_for_the_operator_is_short_and_shows_no_key() {
        let line = saying(&format!("invalid\nkey sk-ant-api03-canary {}", "word ".repeat(60))).line();
        assert!(line.starts_with("invalid key [secret] word") && line.len() < 250, "{line}");
        assert_eq!(saying("<html>x</html>").line(), "");
    }
}
