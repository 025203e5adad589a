//! Routes: their targets exist and can be reached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::findings::Findings;
use crate::config::checked::{Backend, ModelPattern, Route, Target};
use crate::config::raw;

const DAY_MS: u64 = 86_400_000;
const SPILL_AFTER_MS: u64 = 1000;

/// `routes`.
pub fn routes(raw: &[raw::Route], backends: &[Arc<Backend>], findings: &mut Findings<'_>) -> Vec<Arc<Route>> {
    let places: BTreeMap<&str, usize> =
        backends.iter().enumerate().map(|(index, backend)| (backend.name.as_str(), index)).collect();
    let mut routes: Vec<Arc<Route>> = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let path = format!("routes[{index}]");
        let model = ModelPattern::new(&findings.text(&format!("{path}.model"), raw.model.as_deref()));
        // Stored routes match before those of the files, though they come after them here.
        let stored = findings.is_stored(&path);
        let hidden = |(at, earlier): (usize, &Arc<Route>)| {
            findings.is_stored(&format!("routes[{at}]")) == stored
                && (earlier.model == model || earlier.model.pattern() == "*")
        };
        if let Some(earlier) = routes.iter().enumerate().position(hidden) {
            findings.warn(&path, format_args!("is never used, since routes[{earlier}] matches first"));
        }
        let spill = raw.spill_after_ms.unwrap_or(SPILL_AFTER_MS);
        let fallback = raw.fallback_after_ms.filter(|ms| *ms > 0);
        findings.within(&format!("{path}.spill_after_ms"), spill, 0..=DAY_MS);
        findings.within(&format!("{path}.fallback_after_ms"), fallback.unwrap_or(0), 0..=DAY_MS);
        findings.within(&format!("{path}.first_event_ms"), raw.first_event_ms.unwrap_or(1), 1..=DAY_MS);
        if raw.targets.is_empty() {
            findings.wrong(format!("{path}.targets"), "is empty, expected at least one backend");
        }
        for (at, name) in raw.fallback_models.iter().enumerate() {
            let path = format!("{path}.fallback_models[{at}]");
            if findings.text(&path, Some(name)).contains('*') {
                findings.wrong(path, "is a pattern, expected a model's own name");
            }
        }
        routes.push(Arc::new(Route {
            model,
            spill_after: Duration::from_millis(spill),
            fallback_after: fallback.map(Duration::from_millis),
            first_event: raw.first_event_ms.map(Duration::from_millis),
            targets: targets(&path, &raw.targets, &places, findings),
            fallback_models: raw.fallback_models.clone(),
        }));
    }
    routes
}

fn targets(
    path: &str,
    raw: &[raw::Target],
    places: &BTreeMap<&str, usize>,
    findings: &mut Findings<'_>,
) -> Vec<Target> {
    let mut targets = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let path = format!("{path}.targets[{index}]");
        let backend_path = format!("{path}.backend");
        let name = findings.text(&backend_path, raw.backend.as_deref());
        let place = places.get(name.as_str()).copied();
        // A backend without a name has been reported, and may be the one that is meant.
        if place.is_none() && !name.is_empty() && !places.contains_key("") {
            let known: Vec<&str> = places.keys().copied().collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            findings.wrong(backend_path, format!("no backend is called `{name}`, known are: {known}"));
        }
        if raw.model.is_some() {
            findings.text(&format!("{path}.model"), raw.model.as_deref());
        }
        let tier = raw.tier.unwrap_or_else(|| u32::try_from(index).unwrap_or(u32::MAX));
        targets.push(Target { backend: place.unwrap_or(0), model: raw.model.clone(), tier });
    }
    targets
}
