//! What is known of one refreshed credential, and what follows: usable, awaited or refused; when the next refresh is due.
//!
//! Pure: outcomes and moments go in. A credential ends by whichever clock says so first, the monotonic one or the wall: a
//! machine that slept has a wall that jumped, one whose date was set back has not.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use headgate_providers::{Credential, Secret};

use crate::clock::Moment;
use crate::config::checked;

/// A credential that names no end is asked for again this often, for the file it stands in may have changed.
const ENDLESS_REFRESH: Duration = Duration::from_secs(3600);
/// Longest lifetime that is believed.
const LONGEST: Duration = Duration::from_secs(86_400);
/// Shortest lifetime with which a credential is worth anything, and the least time between two refreshes.
const SHORTEST: Duration = Duration::from_secs(1);
/// Least time between two refreshes that refusals by upstream asked for: what is refused again is not cured by a third.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(10);

/// A moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Monotonic.
    pub now: Moment,
    /// The date.
    pub wall: SystemTime,
}

/// A credential as a fetcher brought it.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// What requests present.
    pub credential: Credential,
    /// Header lines that go with it, names in lower case.
    pub lines: Vec<(String, Secret)>,
    /// How long it lasts, counted from the moment the fetch began; `None`: it names no end.
    pub lifetime: Option<Duration>,
}

/// When asking again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// In a moment: the endpoint is busy or out of reach.
    Soon,
    /// Later: its answer is of no use.
    Later,
    /// Not until an operator acts: the credential was revoked.
    Never,
}

/// Why there is no fresh credential.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// When asking again may help.
    pub again: Again,
    /// One line for the operator; never a secret.
    pub detail: String,
}

impl Refusal {
    /// A refusal with one clean line.
    #[must_use]
    pub fn new(again: Again, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into().chars().take(300).collect();
        detail.retain(|letter| !letter.is_control());
        Self { again, detail }
    }
}

/// A credential in use.
#[derive(Debug)]
pub struct Held {
    /// What requests present.
    pub credential: Credential,
    /// Header lines that go with it.
    pub lines: Vec<(String, Secret)>,
    /// Counts the refreshes of its source; 0 for what is never refreshed.
    pub generation: u64,
    until: Option<At>,
    refresh_at: Moment,
}

impl Held {
    /// A credential that stays as it is.
    #[must_use]
    pub fn fixed(credential: Credential) -> Self {
        Self { credential, lines: Vec::new(), generation: 0, until: None, refresh_at: Moment::default() }
    }

    fn lasts(&self, at: At) -> bool {
        self.until.is_none_or(|until| at.now < until.now && at.wall < until.wall)
    }
}

/// The last refresh failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Why.
    pub refusal: Refusal,
    /// When it is tried again.
    pub retry_at: Moment,
}

/// What a call finds.
#[derive(Debug)]
pub enum Standing<'a> {
    /// A credential.
    Usable(&'a Arc<Held>),
    /// None yet: a refresh is under way, or due.
    Awaited,
    /// None, and none before the next attempt.
    Refused(&'a Failed),
}

/// What is known of one credential.
#[derive(Debug, Default)]
pub struct State {
    held: Option<Arc<Held>>,
    generation: u64,
    /// A refresh is under way.
    pub busy: bool,
    failed: Option<Failed>,
    /// Refreshes that failed in a row.
    pub streak: u32,
    renewed_at: Option<Moment>,
}

impl State {
    /// What a call finds at `at`.
    #[must_use]
    pub fn standing(&self, at: At) -> Standing<'_> {
        match (&self.held, &self.failed) {
            (Some(held), _) if held.lasts(at) => Standing::Usable(held),
            (_, Some(failed)) if !self.busy && at.now < failed.retry_at => Standing::Refused(failed),
            (_, Some(_) | None) => Standing::Awaited,
        }
    }

    /// When the next refresh begins.
    #[must_use]
    pub fn due(&self, at: At) -> Moment {
        match (&self.failed, &self.held) {
            (Some(failed), _) => failed.retry_at,
            (None, Some(held)) if held.lasts(at) => held.refresh_at,
            (None, Some(_) | None) => at.now,
        }
    }

    /// A refresh that began at `begun` brought `fresh`.
    ///
    /// # Errors
    /// The refusal, where it had ended before it came.
    pub fn renewed(
        &mut self,
        fresh: Fresh,
        begun: At,
        settings: &checked::Credentials,
    ) -> Result<(), Refusal> {
        let lifetime = fresh.lifetime.map(|lifetime| lifetime.min(LONGEST));
        if lifetime.is_some_and(|lifetime| lifetime < SHORTEST) {
            return Err(Refusal::new(Again::Later, "the new credential had ended before it came"));
        }
        let rest = lifetime.map_or(ENDLESS_REFRESH, |lifetime| {
            // Ahead of the end; of a short life, such as an instance's cached token, half.
            lifetime.saturating_sub(settings.refresh_ahead).max(lifetime / 2).max(SHORTEST)
        });
        let until = lifetime.map(|lifetime| At { now: begun.now + lifetime, wall: begun.wall + lifetime });
        self.generation += 1;
        self.held = Some(Arc::new(Held {
            credential: fresh.credential,
            lines: fresh.lines,
            generation: self.generation,
            until,
            refresh_at: begun.now + rest,
        }));
        (self.failed, self.streak) = (None, 0);
        Ok(())
    }

    /// A refresh failed at `now`. Tells whether this is news for an operator.
    pub fn failed(&mut self, refusal: Refusal, now: Moment, settings: &checked::Credentials) -> bool {
        let rest = match refusal.again {
            Again::Never => settings.revoked,
            Again::Soon | Again::Later => {
                let grown = settings.retry_first.saturating_mul(1 << self.streak.min(30));
                grown.min(settings.retry_max)
            }
        };
        let known = self.failed.as_ref().is_some_and(|failed| failed.refusal.again == refusal.again);
        let news = self.streak == 0 || (refusal.again == Again::Never && !known);
        self.streak = self.streak.saturating_add(1);
        self.failed = Some(Failed { refusal, retry_at: now + rest });
        news
    }

    /// Upstream refused the credential of `generation` at `now`: it is dropped, once, and a refresh becomes due. `false` where
    /// a newer one would be refused as well.
    pub fn refuse(&mut self, generation: u64, now: Moment) -> bool {
        if self.held.as_ref().is_none_or(|held| held.generation != generation) {
            return true;
        }
        if self.renewed_at.is_some_and(|at| now.since(at) < BETWEEN_RENEWALS) {
            return false;
        }
        self.renewed_at = Some(now);
        self.held = None;
        self.failed = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: checked::Credentials = checked::Credentials {
        refresh_ahead: Duration::from_secs(300),
        timeout: Duration::from_secs(15),
        retry_first: Duration::from_secs(1),
        retry_max: Duration::from_secs(60),
        revoked: Duration::from_secs(3600),
    };

    fn at(seconds: u64) -> At {
        both(seconds, seconds)
    }

    fn both(now: u64, wall: u64) -> At {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + wall);
        At { now: Moment::from_micros(now * 1_000_000), wall }
    }

    fn fresh(lifetime: Option<u64>) -> Fresh {
        let credential = Credential::Bearer(Secret::new("t".to_owned()));
        Fresh { credential, lines: Vec::new(), lifetime: lifetime.map(Duration::from_secs) }
    }

    fn with(lifetime: Option<u64>, begun: At) -> State {
        let mut state = State::default();
        state.renewed(fresh(lifetime), begun, &SETTINGS).unwrap();
        state
    }

    fn usable(state: &State, at: At) -> bool {
        matches!(state.standing(at), Standing::Usable(_))
    }

    #[test]
    fn a_credential_is_refreshed_five_minutes_ahead_and_serves_until_its_end() {
        let state = with(Some(3600), at(100));
        assert_eq!(state.due(at(100)), at(100 + 3300).now);
        assert!(usable(&state, at(3699)) && !usable(&state, at(3700)));
        assert_eq!(state.due(at(3700)), at(3700).now);
    }

    #[test]
    fn short_lives_are_refreshed_at_half_and_never_in_a_tight_loop() {
        for (lifetime, rest) in [(500, 250), (200, 100), (4, 2), (1, 1)] {
            assert_eq!(with(Some(lifetime), at(0)).due(at(0)), Moment::default() + Duration::from_secs(rest));
        }
        for lifetime in [0, 1] {
            let mut state = State::default();
            assert_eq!(state.renewed(fresh(Some(lifetime)), at(0), &SETTINGS).is_ok(), lifetime > 0);
        }
    }

    #[test]
    fn absurd_lifetimes_are_cut_and_an_endless_one_is_looked_at_hourly() {
        assert!(!usable(&with(Some(u64::MAX), at(0)), at(86_400)));
        let endless = with(None, at(0));
        assert!(usable(&endless, at(1_000_000)));
        assert_eq!(endless.due(at(0)), at(3600).now);
    }

    #[test]
    fn a_clock_that_jumps_ahead_ends_it_and_one_that_jumps_back_does_not_prolong_it() {
        let state = with(Some(3600), at(0));
        assert!(!usable(&state, both(10, 7200)));
        assert_eq!(state.due(both(10, 7200)), at(10).now);
        let back = At { now: at(3600).now, wall: SystemTime::UNIX_EPOCH };
        assert!(!usable(&state, back));
        assert!(usable(&state, At { now: at(3599).now, ..back }));
    }

    #[test]
    fn failures_back_off_to_a_bound_while_the_old_one_serves_and_one_success_forgets_them() {
        let mut state = with(Some(3600), at(0));
        let mut waits = Vec::new();
        for second in 3300..3308 {
            let news = state.failed(Refusal::new(Again::Soon, "down"), at(second).now, &SETTINGS);
            assert_eq!(news, second == 3300, "told once");
            waits.push(state.due(at(second)).since(at(second).now).as_secs());
            assert!(usable(&state, at(second)));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        state.failed(Refusal::new(Again::Soon, "still down"), at(3599).now, &SETTINGS);
        assert!(
            matches!(state.standing(at(3600)), Standing::Refused(failed) if failed.refusal.detail == "still down")
        );
        state.busy = true;
        assert!(matches!(state.standing(at(3600)), Standing::Awaited));
        state.renewed(fresh(Some(3600)), at(3601), &SETTINGS).unwrap();
        assert!(state.failed(Refusal::new(Again::Later, "odd"), at(7000).now, &SETTINGS));
        assert_eq!(state.due(at(7000)), at(7001).now);
    }

    #[test]
    fn a_revoked_one_rests_for_long_and_is_told_once() {
        let mut state = State::default();
        assert!(state.failed(Refusal::new(Again::Soon, "busy"), at(0).now, &SETTINGS));
        let revoked = || Refusal::new(Again::Never, "invalid_grant");
        assert!(state.failed(revoked(), at(1).now, &SETTINGS));
        assert_eq!(state.due(at(1)), at(3601).now);
        assert!(!state.failed(revoked(), at(3601).now, &SETTINGS));
    }

    #[test]
    fn a_refused_one_is_dropped_once_for_all_who_held_it_and_not_again_at_once() {
        let mut state = with(Some(3600), at(0));
        assert!(state.refuse(1, at(5).now));
        assert!(matches!(state.standing(at(5)), Standing::Awaited));
        assert!(state.refuse(1, at(5).now), "the others wait for the same refresh");
        state.renewed(fresh(Some(3600)), at(6), &SETTINGS).unwrap();
        assert!(state.refuse(1, at(7).now) && usable(&state, at(7)), "a late refusal of the old one");
        assert!(
            !state.refuse(2, at(7).now) && usable(&state, at(7)),
            "a refusal of the new one is the key's"
        );
        assert!(state.refuse(2, at(20).now) && !usable(&state, at(20)));
    }

    #[test]
    fn a_refusal_is_one_bounded_line() {
        let refusal = Refusal::new(Again::Later, format!("a\nb\u{1b}[2J{}", "x".repeat(1000)));
        assert!(refusal.detail.len() <= 300 && !refusal.detail.contains(char::is_control));
    }
}
