//! The sections that are numbers and switches: ranges, and units turned into durations.

use std::time::Duration;

use headgate_providers::Secret;

use super::findings::Findings;
use crate::config::checked;
use crate::config::raw;

/// A day, the longest clock.
const DAY_MS: u64 = 86_400_000;
pub(super) const DAY_S: u64 = 86_400;
/// A leap year, the longest park.
const YEAR_MS: u64 = 31_622_400_000;

/// What the global clocks are laid over; the compiled-in defaults set every one.
pub const NO_DEADLINES: checked::Deadlines = checked::Deadlines {
    connect: Duration::ZERO,
    first_event: Duration::ZERO,
    whole: Duration::ZERO,
    error_body: Duration::ZERO,
    idle: Duration::ZERO,
    write_stall: Duration::ZERO,
    total: Duration::ZERO,
};

/// What the global parking times are laid over.
pub const NO_PARK: checked::Park = checked::Park {
    retry_after_buffer: Duration::ZERO,
    backoff_first: Duration::ZERO,
    backoff_max: Duration::ZERO,
    key_fault_first: Duration::ZERO,
    key_fault_max: Duration::ZERO,
    quota_max: None,
    missing_model: Duration::ZERO,
    overloaded: Duration::ZERO,
    not_ready: Duration::ZERO,
};

/// `over` laid over `base`.
pub fn deadlines(
    path: &str,
    over: &raw::Deadlines,
    base: &checked::Deadlines,
    findings: &mut Findings<'_>,
) -> checked::Deadlines {
    let mut clock = |name: &str, value: Option<u64>, base: Duration| match value {
        None => base,
        Some(ms) => {
            findings.within(&format!("{path}.{name}"), ms, 1..=DAY_MS);
            Duration::from_millis(ms)
        }
    };
    checked::Deadlines {
        connect: clock("connect_ms", over.connect_ms, base.connect),
        first_event: clock("first_event_ms", over.first_event_ms, base.first_event),
        whole: clock("whole_ms", over.whole_ms, base.whole),
        error_body: clock("error_body_ms", over.error_body_ms, base.error_body),
        idle: clock("idle_ms", over.idle_ms, base.idle),
        write_stall: clock("write_stall_ms", over.write_stall_ms, base.write_stall),
        total: clock("total_ms", over.total_ms, base.total),
    }
}

/// `over` laid over `base`.
pub fn park(
    path: &str,
    over: &raw::Park,
    base: &checked::Park,
    findings: &mut Findings<'_>,
) -> checked::Park {
    let mut rest = |name: &str, value: Option<u64>, base: Duration| match value {
        None => base,
        Some(ms) => {
            let least = u64::from(matches!(name, "backoff_first_ms" | "key_fault_first_ms"));
            findings.within(&format!("{path}.{name}"), ms, least..=YEAR_MS);
            Duration::from_millis(ms)
        }
    };
    let quota = rest("quota_max_ms", over.quota_max_ms, base.quota_max.unwrap_or_default());
    let park = checked::Park {
        retry_after_buffer: rest(
            "retry_after_buffer_ms",
            over.retry_after_buffer_ms,
            base.retry_after_buffer,
        ),
        backoff_first: rest("backoff_first_ms", over.backoff_first_ms, base.backoff_first),
        backoff_max: rest("backoff_max_ms", over.backoff_max_ms, base.backoff_max),
        key_fault_first: rest("key_fault_first_ms", over.key_fault_first_ms, base.key_fault_first),
        key_fault_max: rest("key_fault_max_ms", over.key_fault_max_ms, base.key_fault_max),
        quota_max: Some(quota).filter(|quota| !quota.is_zero()),
        missing_model: rest("missing_model_ms", over.missing_model_ms, base.missing_model),
        overloaded: rest("overloaded_ms", over.overloaded_ms, base.overloaded),
        not_ready: rest("not_ready_ms", over.not_ready_ms, base.not_ready),
    };
    // A pair that is inherited whole has been judged where it was written.
    if over.backoff_first_ms.or(over.backoff_max_ms).is_some() {
        let first = ("backoff_first_ms", park.backoff_first);
        at_least(&format!("{path}.backoff_max_ms"), park.backoff_max, first, findings);
    }
    if over.key_fault_first_ms.or(over.key_fault_max_ms).is_some() {
        let first = ("key_fault_first_ms", park.key_fault_first);
        at_least(&format!("{path}.key_fault_max_ms"), park.key_fault_max, first, findings);
    }
    park
}

fn at_least(path: &str, most: Duration, first: (&str, Duration), findings: &mut Findings<'_>) {
    if most < first.1 {
        let text =
            format!("is {}, expected at least {} ({})", most.as_millis(), first.0, first.1.as_millis());
        findings.wrong(path, text);
    }
}

/// `relay`.
pub fn relay(raw: &raw::Relay, findings: &mut Findings<'_>) -> checked::Relay {
    findings.within("relay.max_attempts", raw.max_attempts, 1..=100);
    findings.within("relay.max_key_attempts", raw.max_key_attempts, 1..=1000);
    findings.within("relay.max_wait_ms", raw.max_wait_ms, 0..=3_600_000);
    findings.within("relay.retry_budget_percent", raw.retry_budget_percent, 0..=100);
    findings.within("relay.retry_budget_floor_per_s", raw.retry_budget_floor_per_s, 0..=100_000);
    findings.within("relay.retry_budget_window_s", raw.retry_budget_window_s, 1..=3600);
    findings.within("relay.hold_ms", raw.hold_ms, 0..=600_000);
    findings.within("relay.retry_after_max_s", raw.retry_after_max_s, 1..=DAY_S);
    findings.within("relay.ping_interval_ms", raw.ping_interval_ms, 100..=600_000);
    findings.within("relay.linger_ms", raw.linger_ms, 0..=90);
    findings.within("relay.drain_on_disconnect_ms", raw.drain_on_disconnect_ms, 0..=DAY_MS);
    findings.within("relay.drain_on_disconnect_bytes", raw.drain_on_disconnect_bytes, 0..=1 << 40);
    findings.within("relay.max_event_bytes", raw.max_event_bytes, 1024..=1 << 30);
    findings.within("relay.max_answer_bytes", raw.max_answer_bytes, 1024..=1 << 30);
    checked::Relay {
        max_attempts: raw.max_attempts,
        max_key_attempts: raw.max_key_attempts,
        max_wait: Duration::from_millis(raw.max_wait_ms),
        retry_budget_percent: raw.retry_budget_percent,
        retry_budget_floor_per_s: raw.retry_budget_floor_per_s,
        retry_budget_window: Duration::from_secs(raw.retry_budget_window_s),
        hold: Duration::from_millis(raw.hold_ms),
        retry_after_max: Duration::from_secs(raw.retry_after_max_s),
        expose_upstream_limits: raw.expose_upstream_limits,
        expose_key_names: raw.expose_key_names,
        strip_refused_thinking: raw.strip_refused_thinking,
        ping_interval: Duration::from_millis(raw.ping_interval_ms),
        linger: Duration::from_millis(raw.linger_ms),
        drain_on_disconnect: Duration::from_millis(raw.drain_on_disconnect_ms),
        drain_on_disconnect_bytes: raw.drain_on_disconnect_bytes,
        max_event_bytes: usize::try_from(raw.max_event_bytes).unwrap_or(usize::MAX),
        max_answer_bytes: usize::try_from(raw.max_answer_bytes).unwrap_or(usize::MAX),
    }
}

/// `credentials`.
pub fn credentials(raw: &raw::Credentials, findings: &mut Findings<'_>) -> checked::Credentials {
    findings.within("credentials.refresh_ahead_ms", raw.refresh_ahead_ms, 0..=DAY_MS);
    findings.within("credentials.timeout_ms", raw.timeout_ms, 1..=DAY_MS);
    findings.within("credentials.retry_first_ms", raw.retry_first_ms, 1..=DAY_MS);
    let most = raw.retry_first_ms.clamp(1, DAY_MS)..=DAY_MS;
    findings.within("credentials.retry_max_ms", raw.retry_max_ms, most);
    findings.within("credentials.revoked_ms", raw.revoked_ms, 1..=YEAR_MS);
    checked::Credentials {
        refresh_ahead: Duration::from_millis(raw.refresh_ahead_ms),
        timeout: Duration::from_millis(raw.timeout_ms),
        retry_first: Duration::from_millis(raw.retry_first_ms),
        retry_max: Duration::from_millis(raw.retry_max_ms),
        revoked: Duration::from_millis(raw.revoked_ms),
    }
}

/// `breaker`.
pub fn breaker(raw: &raw::Breaker, findings: &mut Findings<'_>) -> checked::Breaker {
    findings.within("breaker.consecutive_failures", raw.consecutive_failures, 1..=u32::MAX);
    findings.within("breaker.min_samples", raw.min_samples, 1..=u32::MAX);
    if !(raw.failure_rate > 0.0 && raw.failure_rate <= 1.0) {
        let text = format!("is {}, expected a share above 0, up to 1", raw.failure_rate);
        findings.wrong("breaker.failure_rate", text);
    }
    findings.within("breaker.window_s", raw.window_s, 1..=DAY_S);
    findings.within("breaker.open_s", raw.open_s, 1..=DAY_S);
    findings.within("breaker.open_max_s", raw.open_max_s, raw.open_s.clamp(1, DAY_S)..=DAY_S);
    checked::Breaker {
        consecutive_failures: raw.consecutive_failures,
        failure_rate: raw.failure_rate,
        min_samples: raw.min_samples,
        window: Duration::from_secs(raw.window_s),
        open: Duration::from_secs(raw.open_s),
        open_max: Duration::from_secs(raw.open_max_s),
    }
}

/// `budget`.
pub fn budget(raw: &raw::Budget, findings: &mut Findings<'_>) -> checked::Budget {
    if !(raw.burst_s > 0.0 && raw.burst_s <= 60.0) {
        findings.wrong("budget.burst_s", format!("is {}, expected seconds above 0, up to 60", raw.burst_s));
    }
    findings.within("budget.ramp_s", raw.ramp_s, 0.0..=3600.0);
    for (path, share) in
        [("budget.margin", raw.margin), ("budget.background_reserve", raw.background_reserve)]
    {
        if !(0.0..1.0).contains(&share) {
            findings.wrong(path, format!("is {share}, expected a share from 0 up to but not including 1"));
        }
    }
    let seconds = |value: f64| Duration::try_from_secs_f64(value).unwrap_or_default();
    checked::Budget {
        burst: seconds(raw.burst_s),
        margin: raw.margin,
        ramp: Some(seconds(raw.ramp_s)).filter(|ramp| !ramp.is_zero()),
        background_reserve: raw.background_reserve,
    }
}

/// `queue`.
pub fn queue(raw: &raw::Queue, findings: &mut Findings<'_>) -> checked::Queue {
    findings.within("queue.max_waiting", raw.max_waiting, 0..=1_000_000);
    checked::Queue { max_waiting: raw.max_waiting, max_waiting_bytes: raw.max_waiting_bytes }
}

/// `usage`.
pub fn usage(raw: &raw::Usage, findings: &mut Findings<'_>) -> checked::UsageRecords {
    findings.within("usage.queue", raw.queue, 1..=10_000_000);
    findings.within("usage.flush_ms", raw.flush_ms, 10..=60_000);
    findings.within("usage.batch_rows", raw.batch_rows, 1..=10_000);
    findings.within("usage.max_models", raw.max_models, 1..=100_000);
    findings.within("usage.retry_max_ms", raw.retry_max_ms, 10..=3_600_000);
    findings.within("usage.close_ms", raw.close_ms, 0..=60_000);
    let mut keep = |name: &str, days: u64| {
        findings.within(&format!("usage.{name}"), days, 1..=36_525);
        Duration::from_secs(days.min(36_525) * DAY_S)
    };
    checked::UsageRecords {
        queue: raw.queue,
        flush: Duration::from_millis(raw.flush_ms),
        batch_rows: raw.batch_rows,
        max_models: raw.max_models,
        retry_max: Duration::from_millis(raw.retry_max_ms),
        close: Duration::from_millis(raw.close_ms),
        keep_records: keep("keep_records_days", raw.keep_records_days),
        keep_hourly: keep("keep_hourly_days", raw.keep_hourly_days),
        keep_daily: keep("keep_daily_days", raw.keep_daily_days),
    }
}

/// `ledger`.
pub fn ledger(raw: &raw::Ledger, findings: &mut Findings<'_>) -> checked::Ledger {
    if raw.key_prefix.is_empty() {
        findings.wrong("ledger.key_prefix", "is empty, expected a prefix such as headgate:");
    }
    let url = match raw.kind {
        checked::LedgerKind::Memory if !matches!(raw.url, crate::config::reference::Reference::Plain(_)) => {
            None
        }
        checked::LedgerKind::Memory | checked::LedgerKind::Redis => {
            let url = findings.open_text("ledger.url", &raw.url);
            Some(address("ledger.url", url, &["redis", "rediss"], findings))
        }
    };
    checked::Ledger {
        kind: raw.kind,
        url: url.unwrap_or_else(|| Secret::new(String::new())),
        on_outage: raw.on_outage,
        key_prefix: raw.key_prefix.clone(),
    }
}

pub(super) fn address(
    path: &str,
    url: Option<Secret>,
    schemes: &[&str],
    findings: &mut Findings<'_>,
) -> Secret {
    let Some(url) = url else { return Secret::new(String::new()) };
    let rest = url.expose().split_once("://").filter(|(scheme, _)| schemes.contains(scheme));
    if rest.is_none_or(|(_, rest)| rest.is_empty()) {
        let expected: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://...")).collect();
        findings.wrong(path, format!("is not an address it can use, expected {}", expected.join(" or ")));
    }
    url
}
