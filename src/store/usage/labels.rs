//! `Labels`: what many records of usage have in common, kept once for each day; and the sums, made from records alike.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use headgate_providers::Usage;
use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;

use super::many::Many;
use super::{seconds, whole};
use crate::settle::Outcome;
use crate::store::StoreError;
use crate::usage::UsageRecord;
use crate::usage::report::Step;

static INSERT: LazyLock<Many> = LazyLock::new(|| {
    let head = "INSERT INTO usage_labels (id, day, tenant, key, backend, counted, operation, served, stream, status, outcome, \
                cause) VALUES";
    Many::new(head, 12, "ON CONFLICT (id) DO NOTHING")
});

/// What records of one hour that are alike share. A caller can make few of them: the asked model is not among them unless sums
/// name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Labels<'a> {
    /// When the hour began, seconds since 1970 UTC.
    pub hour: i64,
    /// Empty where nobody is known, as the next two where no key was tried.
    pub tenant: &'a str,
    /// The key.
    pub key: &'a str,
    /// Its backend.
    pub backend: &'a str,
    /// The model that sums name.
    pub counted: &'a str,
    operation: &'static str,
    served: bool,
    stream: bool,
    status: u16,
    outcome: Outcome,
    cause: &'static str,
}

/// What one row of sums is of: start, tenant, key, backend, model.
pub type SumKey<'a> = (i64, &'a str, &'a str, &'a str, &'a str);
/// What the sums add up: requests, failed, unpriced, the five kinds of tokens, cost.
pub type Counts = [i64; 9];

impl<'a> Labels<'a> {
    /// Those of `record`.
    pub fn of(record: &'a UsageRecord) -> Self {
        Self {
            hour: begin(seconds(record.at), Step::Hour),
            tenant: record.tenant.as_deref().unwrap_or_default(),
            key: &record.key,
            backend: &record.backend,
            counted: record.counted_model(),
            operation: record.operation,
            served: record.served.is_some(),
            stream: record.stream,
            status: record.status,
            outcome: record.outcome,
            cause: record.cause,
        }
    }

    fn day(&self) -> i64 {
        begin(self.hour, Step::Day)
    }

    /// A number that no other labels have: 63 bits of a digest, so that nobody needs to look it up.
    fn id(&self) -> i64 {
        let mut digest = Sha256::new();
        let texts = [
            self.tenant,
            self.key,
            self.backend,
            self.counted,
            self.operation,
            self.outcome.name(),
            self.cause,
        ];
        for text in texts {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
        digest.update(self.day().to_le_bytes());
        digest.update(self.status.to_le_bytes());
        digest.update([u8::from(self.served), u8::from(self.stream)]);
        let first = digest.finalize().first_chunk().copied().unwrap_or_default();
        i64::from_le_bytes(first) & i64::MAX
    }
}

/// Records by their labels.
#[derive(Default)]
pub struct Alike<'a> {
    groups: Vec<(i64, Labels<'a>, Counts)>,
    places: HashMap<Labels<'a>, usize>,
}

impl<'a> Alike<'a> {
    /// Counts `record`; returns the id of its labels.
    pub fn add(&mut self, record: &'a UsageRecord) -> i64 {
        let labels = Labels::of(record);
        let place = *self.places.entry(labels).or_insert_with(|| {
            self.groups.push((labels.id(), labels, [0; 9]));
            self.groups.len() - 1
        });
        let Some((id, _, counts)) = self.groups.get_mut(place) else { return 0 };
        add(counts, &counts_of(record));
        *id
    }

    /// Writes the labels that are not there already.
    pub async fn write(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let bind = |query: super::many::Query, (id, labels, _): &(i64, Labels<'a>, Counts)| {
            let query = query.bind(*id).bind(labels.day()).bind(labels.tenant).bind(labels.key);
            let query = query.bind(labels.backend).bind(labels.counted).bind(labels.operation);
            let query = query.bind(labels.served).bind(labels.stream).bind(labels.status);
            query.bind(labels.outcome.name()).bind(labels.cause)
        };
        INSERT.write(connection, &self.groups, bind).await.map(|_| ())
    }

    /// The sums by `step`, in the order of their keys: start, tenant, key, backend, model.
    pub fn sums(&self, step: Step) -> BTreeMap<SumKey<'a>, Counts> {
        let mut sums = BTreeMap::new();
        for (_, labels, counts) in &self.groups {
            let start = begin(labels.hour, step);
            let key = (start, labels.tenant, labels.key, labels.backend, labels.counted);
            add(sums.entry(key).or_insert([0; 9]), counts);
        }
        sums
    }
}

fn begin(seconds: i64, step: Step) -> i64 {
    seconds - seconds.rem_euclid(step.seconds())
}

fn add(sum: &mut Counts, own: &Counts) {
    for (sum, own) in sum.iter_mut().zip(own) {
        *sum = sum.saturating_add(*own);
    }
}

fn counts_of(record: &UsageRecord) -> Counts {
    let usage = &record.usage;
    let failed = matches!(record.outcome, Outcome::Failed | Outcome::Cut);
    let unpriced = record.cost.is_none() && *usage != Usage::default();
    [
        1,
        i64::from(failed),
        i64::from(unpriced),
        whole(usage.input),
        whole(usage.output),
        whole(usage.cache_read),
        whole(usage.cache_write_5m),
        whole(usage.cache_write_1h),
        record.cost.map_or(0, whole),
    ]
}
