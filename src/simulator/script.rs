//! Which fault strikes which request: the state of the rules, apart from time and chance.

use std::time::Duration;

use wildmatch::WildMatch;

use super::dice::Dice;
use super::fault::{Fault, FaultKind, FaultRule};

/// What a rule may ask about a request.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The key's name.
    pub key: &'a str,
    /// The path.
    pub path: &'a str,
    /// The path asks for a message.
    pub answers: bool,
    /// The model, once the body was read.
    pub model: Option<&'a str>,
}

/// The rules and how far each has come.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Progress>,
    dice: Dice,
}

#[derive(Debug)]
struct Progress {
    rule: FaultRule,
    seen: u64,
    struck: u64,
}

impl Rules {
    /// Fresh rules.
    pub fn new(rules: Vec<FaultRule>, seed: u64) -> Self {
        Self { rules: rules.into_iter().map(Progress::new).collect(), dice: Dice::new(seed) }
    }

    /// The rules as they were given.
    pub fn list(&self) -> Vec<FaultRule> {
        self.rules.iter().map(|progress| progress.rule.clone()).collect()
    }

    /// Removes the rules of one key (those that name exactly it), or all.
    pub fn clear(&mut self, key: Option<&str>) {
        self.rules.retain(|progress| key.is_some_and(|key| progress.rule.keys != [key]));
    }

    /// Adds rules behind those there are.
    pub fn add(&mut self, rules: Vec<FaultRule>) {
        self.rules.extend(rules.into_iter().map(Progress::new));
    }

    /// The fault for this request, from the first rule that strikes. Without a model only rules that ask for none are
    /// considered; with one, only those that do.
    pub fn pick(&mut self, subject: Subject<'_>, now: Duration) -> Option<Fault> {
        let dice = &mut self.dice;
        let fault = self.rules.iter_mut().find_map(|progress| progress.strike(subject, now, dice))?;
        (fault.kind != FaultKind::None).then_some(fault)
    }
}

impl Progress {
    fn new(rule: FaultRule) -> Self {
        Self { rule, seen: 0, struck: 0 }
    }

    fn strike(&mut self, subject: Subject<'_>, now: Duration, dice: &mut Dice) -> Option<Fault> {
        if !self.fits(subject, now) {
            return None;
        }
        self.seen += 1;
        let spent = self.rule.count.is_some_and(|count| self.struck >= count);
        if self.seen <= self.rule.skip || spent || (self.rule.rate < 1.0 && !dice.chance(self.rule.rate)) {
            return None;
        }
        let fault = self.turn();
        self.struck += u64::from(fault.is_some());
        fault
    }

    fn turn(&self) -> Option<Fault> {
        if self.rule.script.is_empty() {
            return self.rule.fault.clone();
        }
        let length = self.rule.script.len();
        let turn = usize::try_from(self.struck).unwrap_or(usize::MAX);
        let turn = if self.rule.repeat { turn % length } else { turn };
        self.rule.script.get(turn).cloned()
    }

    fn fits(&self, subject: Subject<'_>, now: Duration) -> bool {
        let rule = &self.rule;
        let second = now.as_secs_f64();
        let in_time = rule.from_s.is_none_or(|from| second >= from) && rule.to_s.is_none_or(|to| second < to);
        let on_path = if rule.paths.is_empty() { subject.answers } else { any(&rule.paths, subject.path) };
        let of_model = match subject.model {
            None => rule.models.is_empty(),
            Some(model) => !rule.models.is_empty() && any(&rule.models, model),
        };
        in_time && on_path && of_model && (rule.keys.is_empty() || any(&rule.keys, subject.key))
    }
}

fn any(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| WildMatch::new(pattern).matches(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(rules: &mut Rules, key: &str, seconds: &[u64]) -> Vec<Option<FaultKind>> {
        let subject = Subject { key, path: "/v1/messages", answers: true, model: None };
        seconds
            .iter()
            .map(|at| rules.pick(subject, Duration::from_secs(*at)).map(|fault| fault.kind))
            .collect()
    }

    fn rule(fault: FaultKind) -> FaultRule {
        Fault::new(fault).into()
    }

    #[test]
    fn a_rule_keeps_to_its_key_window_and_count() {
        let given = FaultRule {
            keys: vec!["org-a-*".into()],
            from_s: Some(1.0),
            to_s: Some(5.0),
            count: Some(2),
            ..rule(FaultKind::Overloaded)
        };
        let mut rules = Rules::new(vec![given], 1);
        assert_eq!(kinds(&mut rules, "org-b-1", &[2]), [None]);
        let struck = Some(FaultKind::Overloaded);
        assert_eq!(kinds(&mut rules, "org-a-1", &[0, 1, 2, 3, 6]), [None, struck, struck, None, None]);
    }

    #[test]
    fn a_script_is_played_in_order_and_once() {
        let script = [FaultKind::Overloaded, FaultKind::None, FaultKind::Reset].map(Fault::new).to_vec();
        let mut rules = Rules::new(vec![FaultRule { script, ..FaultRule::default() }], 1);
        let wanted = [Some(FaultKind::Overloaded), None, Some(FaultKind::Reset), None];
        assert_eq!(kinds(&mut rules, "any", &[0, 0, 0, 0]), wanted);
    }

    #[test]
    fn rules_with_models_wait_for_the_body() {
        let given = FaultRule { models: vec!["claude-opus-*".into()], ..rule(FaultKind::NotFound) };
        let mut rules = Rules::new(vec![given], 1);
        let mut subject = Subject { key: "a", path: "/v1/messages", answers: true, model: None };
        assert_eq!(rules.pick(subject, Duration::ZERO), None);
        subject.model = Some("claude-opus-5");
        assert!(rules.pick(subject, Duration::ZERO).is_some());
        subject.model = Some("claude-haiku-4-5");
        assert!(rules.pick(subject, Duration::ZERO).is_none());
    }

    #[test]
    fn clearing_one_key_leaves_the_others() {
        let of = |key: &str| FaultRule { keys: vec![key.into()], ..rule(FaultKind::Overloaded) };
        let mut rules = Rules::new(vec![of("a"), of("b")], 1);
        rules.clear(Some("a"));
        assert_eq!(rules.list().len(), 1);
        rules.clear(None);
        assert!(rules.list().is_empty());
    }
}
