//! The story: what befalls the upstream, step by step. Misfortunes pile up until the last step restores everything.

use std::time::Duration;

use super::stage::ACCOUNT;
use crate::simulator::bedrock::config::BedrockLimitConfig;
use crate::simulator::config::LimitConfig;
use crate::simulator::{Control, Fault, FaultKind, FaultRule};

/// One step.
pub struct Step {
    /// What happens, in a few words.
    pub title: &'static str,
    /// What to look for.
    pub text: &'static str,
    /// Its share of the story's time.
    share: u32,
    act: fn(&Control),
}

/// The whole story.
pub const STEPS: [Step; 7] = [
    Step {
        title: "All is calm",
        text: "Six keys of three organizations share the traffic evenly; Bedrock and Vertex stand by.",
        share: 4,
        act: |_| {},
    },
    Step {
        title: "The key org-a-2 is revoked",
        text: "Upstream answers it with 401. The key is parked; its calls go elsewhere.",
        share: 4,
        act: |upstream| {
            upstream.revoke("org-a-2");
        },
    },
    Step {
        title: "org-b runs into its rate limit",
        text: "Real 429s: the organization rests as long as retry-after says.",
        share: 5,
        act: |upstream| {
            let limit = LimitConfig { rpm: 30, burst_s: 2.0, ..LimitConfig::default() };
            upstream.set_limits("org-b", &[limit]);
        },
    },
    Step {
        title: "org-c is overloaded",
        text: "529s: short rests. Of Anthropic's six keys one is left, and it carries everything.",
        share: 4,
        act: |upstream| {
            upstream.set_faults(vec![strikes("org-c-*", Fault::new(FaultKind::Overloaded))]);
        },
    },
    Step {
        title: "org-c cuts its answers before content",
        text: "Connections reset after the first event: breakers open, callers see nothing.",
        share: 5,
        act: |upstream| {
            let mut cut = Fault::new(FaultKind::Reset);
            cut.knobs.after_events = Some(1);
            upstream.set_faults(vec![strikes("org-c-*", cut)]);
        },
    },
    Step {
        title: "Anthropic is down as a whole",
        text: "529s for every key. Bedrock takes over until its quota is spent, Vertex the rest.",
        share: 6,
        act: |upstream| {
            upstream.set_faults(vec![strikes("org-*", Fault::new(FaultKind::Overloaded))]);
            let limit = BedrockLimitConfig { rpm: 300, burst_s: 2.0, ..BedrockLimitConfig::default() };
            upstream.set_account_limits(ACCOUNT, &[limit]);
        },
    },
    Step {
        title: "Everything is restored",
        text: "One probing call at a time finds out; parks end, breakers close.",
        share: 6,
        act: |upstream| {
            upstream.clear_faults(None);
            upstream.set_limits("org-b", &[LimitConfig::default()]);
            upstream.set_account_limits(ACCOUNT, &[BedrockLimitConfig::default()]);
            upstream.restore("org-a-2");
        },
    },
];

/// How long the story takes when nobody says otherwise.
pub const SECONDS: u64 = 34;

/// A story being told.
pub struct Story {
    length: Duration,
    current: Option<usize>,
}

impl Story {
    /// A story of this length.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        Self { length, current: None }
    }

    /// Goes on to where the story is after `elapsed`, and acts on the upstream; true when a new step has begun.
    pub fn go_on(&mut self, elapsed: Duration, upstream: &Control) -> bool {
        let place = self.place(elapsed);
        let begun = self.current.map_or(0, |current| current + 1);
        for step in STEPS.iter().take(place + 1).skip(begun) {
            (step.act)(upstream);
        }
        let news = self.current != Some(place);
        self.current = Some(place);
        news
    }

    /// The step under way and its number, from 1.
    #[must_use]
    pub fn step(&self) -> (usize, &'static Step) {
        let place = self.current.unwrap_or(0).min(STEPS.len() - 1);
        (place + 1, &STEPS[place])
    }

    /// How long it takes.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self, elapsed: Duration) -> bool {
        elapsed >= self.length
    }

    fn place(&self, elapsed: Duration) -> usize {
        let total: u32 = STEPS.iter().map(|step| step.share).sum();
        let mut end = 0;
        let under_way = STEPS.iter().position(|step| {
            end += step.share;
            elapsed < self.length * end / total
        });
        under_way.unwrap_or(STEPS.len() - 1)
    }
}

fn strikes(keys: &str, fault: Fault) -> FaultRule {
    FaultRule { keys: vec![keys.to_owned()], ..fault.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_share_the_time_and_the_last_one_lasts() {
        let story = Story::new(Duration::from_secs(SECONDS));
        let places =
            [0, 3, 4, 8, 13, 17, 22, 27, 28, 33, 34, 99].map(|at| story.place(Duration::from_secs(at)));
        assert_eq!(places, [0, 0, 1, 2, 3, 4, 5, 5, 6, 6, 6, 6]);
        let short = Story::new(Duration::from_millis(8_500));
        assert_eq!(short.place(Duration::from_millis(1_000)), 1);
        assert!(short.is_over(Duration::from_millis(8_500)));
    }
}
