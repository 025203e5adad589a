//! What is accepted and checked but not built yet. Work that builds a part deletes its row.

/// Where the part is configured (list positions left out; `=value` for one value of an option), and what to say once.
pub const PARTS: &[(&str, &str)] = &[
    ("backends[].provider=openai", "OpenAI backends are not served yet"),
    ("backends[].limit_groups[].limits", "limits of groups are not mirrored yet"),
    ("backends[].limit_groups[].usd_per_day", "ceilings in US dollars are not kept yet"),
    ("backends[].limit_groups[].usd_per_month", "ceilings in US dollars are not kept yet"),
    ("routes[].fallback_after_ms", "fallback models are not tried yet"),
    ("routes[].fallback_models", "fallback models are not tried yet"),
    ("tenants[].priority", "priorities do not count yet"),
    ("tenants[].weight", "weights of tenants do not count yet"),
    ("tenants[].limits", "limits of tenants are not kept yet"),
    ("ledger.kind=redis", "limits and parks are counted in memory only"),
    ("ledger.on_outage", "limits and parks are counted in memory only"),
    ("budget", "upstream budgets are not mirrored yet"),
];
