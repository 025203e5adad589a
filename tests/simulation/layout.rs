//! The shape of a world: backends, groups, keys, weights, routes; drawn by dice, changed by reloads, turned into settings.

use std::sync::Arc;
use std::time::Duration;

use headgate::config::checked::{
    AuthScheme, Backend, BaseUrl, Credential, Deadlines, Key, LimitGroup, ModelPattern, Park,
    ProviderSettings, Route, Settings, Target,
};
use headgate::config::{Environment, load};
use headgate_providers::Secret;

use super::dice::Dice;

/// Models and the class each belongs to, as documented.
pub const MODELS: [(&str, &str); 4] = [
    ("claude-sonnet-4-5", "claude-sonnet-4"),
    ("claude-sonnet-4-6", "claude-sonnet-4"),
    ("claude-3-5-haiku-latest", "claude-haiku-3"),
    ("house-model", "house-model"),
];

pub fn class_of(model: &str) -> &'static str {
    MODELS.iter().find(|(name, _)| *name == model).map_or("", |(_, class)| class)
}

#[derive(Clone, Debug)]
pub struct KeyShape {
    pub name: String,
    pub secret: String,
    pub group: String,
    pub weight: f64,
}

#[derive(Clone, Debug)]
pub struct BackendShape {
    pub name: String,
    pub keys: Vec<KeyShape>,
}

/// One configuration of a world.
#[derive(Clone, Debug)]
pub struct Layout {
    pub backends: Vec<BackendShape>,
    /// By model of [`MODELS`]: (backend, tier). Empty: no routes at all.
    pub routes: Vec<Vec<(usize, u32)>>,
    pub spill_after: Duration,
    made: u32,
}

impl Layout {
    pub fn draw(dice: &mut Dice) -> Self {
        let mut layout =
            Self { backends: Vec::new(), routes: Vec::new(), spill_after: dice.millis(0, 1500), made: 0 };
        for number in 0..=dice.below(4) {
            layout.backends.push(BackendShape { name: format!("b{number}"), keys: Vec::new() });
            for _ in 0..=dice.below(4) {
                layout.add_key(number, dice);
            }
        }
        layout.draw_routes(dice);
        layout
    }

    /// What an operator's edit of the file may change.
    pub fn change(&mut self, dice: &mut Dice) -> &'static str {
        let backend = dice.below(self.backends.len());
        let keys = self.backends[backend].keys.len();
        let key = dice.below(keys);
        match dice.below(6) {
            0 if keys < 6 => {
                self.add_key(backend, dice);
                "a key was added"
            }
            1 if keys > 1 => {
                self.backends[backend].keys.remove(key);
                "a key was removed"
            }
            2 => {
                self.made += 1;
                let key = &mut self.backends[backend].keys[key];
                key.secret = format!("sk-{}-{}", key.name, self.made);
                "a secret was rotated"
            }
            3 => {
                self.backends[backend].keys[key].group = format!("g{}", dice.below(3));
                "a key was moved to another group"
            }
            4 => {
                self.draw_routes(dice);
                "routes were changed"
            }
            _ => {
                self.backends[backend].keys[key].weight = *dice.pick(&[0.5, 1.0, 3.0]);
                "a weight was changed"
            }
        }
    }

    fn add_key(&mut self, backend: usize, dice: &mut Dice) {
        self.made += 1;
        let name = format!("k{}", self.made);
        let secret = format!("sk-{name}-{}", self.made);
        let group = format!("g{}", dice.below(3));
        let weight = *dice.pick(&[0.5, 1.0, 1.0, 2.0]);
        self.backends[backend].keys.push(KeyShape { name, secret, group, weight });
    }

    fn draw_routes(&mut self, dice: &mut Dice) {
        self.routes.clear();
        if dice.percent(30) {
            return;
        }
        for _ in MODELS {
            let mut targets: Vec<(usize, u32)> = Vec::new();
            for backend in 0..self.backends.len() {
                if dice.percent(75) {
                    targets.push((backend, u32::from(dice.percent(40))));
                }
            }
            if targets.is_empty() {
                targets.push((dice.below(self.backends.len()), 0));
            }
            self.routes.push(targets);
        }
    }

    /// The key that presents `secret`.
    pub fn key(&self, secret: &str) -> Option<(&BackendShape, &KeyShape)> {
        let mut all = self.backends.iter().flat_map(|up| up.keys.iter().map(move |key| (up, key)));
        all.find(|(_, key)| key.secret == secret)
    }

    /// The settings of this shape, everything else as in `base`.
    pub fn settings(&self, base: &Settings) -> Settings {
        let backends =
            self.backends.iter().map(|shape| Arc::new(backend(shape, &base.deadlines, &base.park)));
        let routes = MODELS.iter().zip(&self.routes).map(|((model, _), targets)| {
            let target = |&(backend, tier)| Target { backend, model: None, tier };
            Arc::new(Route {
                model: ModelPattern::new(model),
                spill_after: self.spill_after,
                fallback_after: None,
                first_event: None,
                targets: targets.iter().map(target).collect(),
                fallback_models: Vec::new(),
            })
        });
        Settings { backends: backends.collect(), routes: routes.collect(), ..base.clone() }
    }
}

fn backend(shape: &BackendShape, deadlines: &Deadlines, park: &Park) -> Backend {
    let mut groups: Vec<&str> = shape.keys.iter().map(|key| key.group.as_str()).collect();
    groups.sort_unstable();
    groups.dedup();
    let group = |name: &&str| LimitGroup {
        name: (*name).to_owned(),
        limits: Vec::new(),
        usd_per_month: None,
        usd_per_day: None,
    };
    let key = |key: &KeyShape| Key {
        name: key.name.clone(),
        credential: Credential::Secret(Secret::new(key.secret.clone())),
        limit_group: key.group.clone(),
        weight: key.weight,
        enabled: true,
    };
    Backend {
        name: shape.name.clone(),
        provider: ProviderSettings::Anthropic,
        base_url: BaseUrl {
            https: true,
            host: "upstream.example".to_owned(),
            port: 443,
            path: String::new(),
        },
        auth: AuthScheme::XApiKey,
        headers: Vec::new(),
        proxy: None,
        ca_pem: None,
        drain_on_disconnect: false,
        guarded: false,
        deadlines: deadlines.clone(),
        park: park.clone(),
        capabilities: Arc::from([]),
        limit_groups: groups.iter().map(group).collect(),
        keys: shape.keys.iter().map(key).collect(),
    }
}

/// Bounds and times of one world: small enough that minutes of virtual time hold many of them.
pub fn bounds(dice: &mut Dice) -> Settings {
    let mut base = load(&[], &Environment::default()).expect("the defaults are valid");
    base.relay.max_attempts = 2 + u32::from(dice.percent(50)) * 4;
    base.relay.max_key_attempts = *dice.pick(&[2, 5, 16]);
    base.relay.retry_budget_floor_per_s = *dice.pick(&[1, 3, 10]);
    base.queue.max_waiting = *dice.pick(&[3, 20, 1000]);
    base.deadlines = Deadlines {
        first_event: dice.millis(2_000, 8_000),
        whole: dice.millis(4_000, 15_000),
        idle: dice.millis(2_000, 6_000),
        total: dice.millis(20_000, 60_000),
        ..base.deadlines
    };
    base.park = Park {
        backoff_max: Duration::from_secs(20),
        key_fault_first: Duration::from_secs(2),
        key_fault_max: Duration::from_secs(60),
        quota_max: if dice.percent(50) { Some(Duration::from_secs(40)) } else { None },
        missing_model: Duration::from_secs(20),
        ..base.park
    };
    base.breaker.open = dice.millis(3_000, 10_000);
    base.breaker.open_max = Duration::from_secs(40);
    base
}
