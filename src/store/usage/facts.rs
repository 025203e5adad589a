//! `Facts`: what a record of usage holds that nobody filters by, as one text of JSON.
//!
//! Names are short, for there may be millions; what is nothing is left out, so that fields can be added. Times are microseconds.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::whole;
use crate::usage::UsageRecord;

/// What a record holds besides what is filtered by.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Facts<'a> {
    /// The endpoint.
    pub op: Cow<'a, str>,
    /// The asked model.
    pub model: Cow<'a, str>,
    /// The model that served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<Cow<'a, str>>,
    /// Whether a stream was asked for.
    #[serde(skip_serializing_if = "is_default")]
    pub stream: bool,
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
    /// Status.
    pub status: u16,
    /// How it ended.
    pub outcome: Cow<'a, str>,
    /// The kind of the last fault.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub cause: Cow<'a, str>,
}

impl<'a> Facts<'a> {
    /// Those of `record`.
    pub fn of(record: &'a UsageRecord) -> Self {
        let span = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        let usage = &record.usage;
        Self {
            op: record.operation.into(),
            model: record.model.as_str().into(),
            served: record.served.as_deref().map(Cow::from),
            stream: record.stream,
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
            status: record.status,
            outcome: record.outcome.name().into(),
            cause: record.cause.into(),
        }
    }

    /// As it is stored.
    pub fn text(&self) -> String {
        // Plain fields cannot fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
