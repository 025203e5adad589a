//! `Facts`: what a record of usage has of its own, as one text of JSON; the rest are its labels.
//!
//! Names are short, for there may be millions; what is nothing is left out, so that fields can be added. Times are microseconds.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::whole;
use crate::usage::UsageRecord;

/// Usual length of the text.
const LENGTH: usize = 96;

/// What a record holds besides its labels.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Facts<'a> {
    /// The asked model where it is not the one it is counted under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Cow<'a, str>>,
    /// The model that served, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<Cow<'a, str>>,
    /// Tokens: input, output, cache read, written for five minutes, written for an hour.
    #[serde(skip_serializing_if = "is_default")]
    pub tokens: [i64; 5],
    /// Nano-dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<i64>,
    /// Attempts.
    #[serde(skip_serializing_if = "is_default")]
    pub tries: u32,
    /// Time in the queue.
    #[serde(skip_serializing_if = "is_default")]
    pub queued: i64,
    /// From the head to the first content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<i64>,
    /// From the head to the end.
    pub took: i64,
}

impl<'a> Facts<'a> {
    /// Those of `record`.
    pub fn of(record: &'a UsageRecord) -> Self {
        let span = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        let (usage, counted) = (&record.usage, record.counted_model());
        Self {
            model: Some(&*record.model).filter(|model| *model != counted).map(Cow::from),
            served: record.served.as_deref().filter(|model| *model != counted).map(Cow::from),
            tokens: [
                whole(usage.input),
                whole(usage.output),
                whole(usage.cache_read),
                whole(usage.cache_write_5m),
                whole(usage.cache_write_1h),
            ],
            cost: record.cost.map(whole),
            tries: record.attempts,
            queued: span(record.queued),
            first: record.first_content.map(span),
            took: span(record.duration),
        }
    }

    /// As it is stored.
    pub fn text(&self) -> String {
        let mut text = Vec::with_capacity(LENGTH);
        // Plain fields cannot fail to be written.
        let written = serde_json::to_writer(&mut text, self).map(|()| String::from_utf8(text));
        written.ok().and_then(Result::ok).unwrap_or_default()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
