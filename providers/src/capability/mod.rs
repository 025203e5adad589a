//! What a backend can express of a request, judged before anything is sent.
//!
//! A configured [`Rule`] says what an upstream takes of the Messages API: a list that is there names all that it takes, `*` standing
//! for any characters; a list that is not there takes everything. [`Limits`] is a rule ready for use, [`Features`] is what one
//! request uses, read lazily and once; the first thing that does not fit is the [`Obstacle`]. Pure. Where a table errs, it should
//! err towards "cannot": a backend that is not asked costs less than a 400 that the first choice would not have given.

mod features;

use wildmatch::WildMatchPattern;

pub use features::Features;

use crate::bedrock;
use crate::request::{MessagesRequest, Operation};

/// What an upstream takes of the Messages API, for some of its models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Upstream's names of the models, `*` standing for any characters.
    pub models: String,
    /// Largest body it takes, bytes, edits of the dialect included; `None`: any.
    pub max_body_bytes: Option<usize>,
    /// Which endpoints it has.
    pub operations: Option<Vec<Operation>>,
    /// Top-level fields besides `model` and `stream`.
    pub fields: Option<Vec<String>>,
    /// Types of tools; a tool without a type is `custom`.
    pub tools: Option<Vec<String>>,
    /// Types of content blocks.
    pub blocks: Option<Vec<String>>,
    /// Types of the sources of images and documents.
    pub sources: Option<Vec<String>>,
    /// Members one level down that it does not take, `FIELD.MEMBER`; of a list, of any of its objects.
    pub refuses: Vec<String>,
    /// Beta flags whose loss would change the answer: where the dialect would drop one, the backend cannot serve.
    pub vital_betas: Vec<String>,
}

impl Rule {
    /// Whether it is about upstream's `model`.
    #[must_use]
    pub fn is_for(&self, model: &str) -> bool {
        pattern(&self.models).matches(model)
    }
}

/// What a dialect changes on the way, which decides whether something arrives at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Beta flags that pass, their aliases included; `None`: all do.
    pub betas: Option<Vec<String>>,
    /// Whether optional top-level fields that are `null` are left out, as InvokeModel demands.
    pub drops_nulls: bool,
}

/// A rule ready for use, with what its dialect changes on the way.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    max_body_bytes: Option<usize>,
    operations: Option<Vec<Operation>>,
    fields: Option<Names>,
    tools: Option<Names>,
    blocks: Option<Names>,
    sources: Option<Names>,
    refuses: Names,
    vital_betas: Names,
    passage: Passage,
}

/// The first thing of a request that an upstream cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The endpoint itself.
    Operation(Operation),
    /// The body is larger than this, bytes.
    Size(usize),
    /// Something in it: where it stands, and what it is where the place does not tell.
    Part {
        /// The field, such as `service_tier` or `messages.0.content.1.source`.
        place: String,
        /// Its type or flag; empty where the field itself is the matter.
        what: String,
    },
}

impl Obstacle {
    /// What the caller is told, naming the field as the Messages API does.
    #[must_use]
    pub fn message(&self) -> String {
        const NOBODY: &str = "is not supported by any backend that serves this model";
        match self {
            Self::Operation(Operation::Messages) => format!("Creating messages {NOBODY}"),
            Self::Operation(Operation::CountTokens) => format!("Counting tokens {NOBODY}"),
            Self::Operation(Operation::Models) => format!("Listing models {NOBODY}"),
            Self::Size(limit) => format!(
                "Request exceeds the maximum size: the backends that serve this model take bodies of at most {limit} bytes."
            ),
            Self::Part { place, what } if what.is_empty() => format!("{place}: this field {NOBODY}"),
            Self::Part { place, what } => format!("{place}: '{what}' {NOBODY}"),
        }
    }
}

impl Limits {
    /// Compiles `rule`; `passage` is what its dialect changes on the way.
    #[must_use]
    pub fn new(rule: &Rule, passage: Passage) -> Self {
        let names = |list: &Option<Vec<String>>| list.as_deref().map(Names::new);
        Self {
            max_body_bytes: rule.max_body_bytes,
            operations: rule.operations.clone(),
            fields: names(&rule.fields),
            tools: names(&rule.tools),
            blocks: names(&rule.blocks),
            sources: names(&rule.sources),
            refuses: Names::new(&rule.refuses),
            vital_betas: Names::new(&rule.vital_betas),
            passage,
        }
    }

    /// Largest body, bytes; `None`: any.
    #[must_use]
    pub fn max_body_bytes(&self) -> Option<usize> {
        self.max_body_bytes
    }

    /// Whether the features of a request decide; otherwise its endpoint and its length do.
    #[must_use]
    pub fn reads_features(&self) -> bool {
        let lists = [&self.fields, &self.tools, &self.blocks, &self.sources];
        lists.iter().any(|list| list.is_some())
            || !self.refuses.is_empty()
            || (!self.vital_betas.is_empty() && self.passage.betas.is_some())
    }

    /// What keeps an upstream with these limits from `request`; `features` is called only where they decide.
    pub fn obstacle<'f>(
        &self,
        request: &MessagesRequest,
        features: impl FnOnce() -> &'f Features,
    ) -> Option<Obstacle> {
        if self.operations.as_ref().is_some_and(|has| !has.contains(&request.operation)) {
            return Some(Obstacle::Operation(request.operation));
        }
        if let Some(limit) = self.max_body_bytes.filter(|limit| request.body.len() > *limit) {
            return Some(Obstacle::Size(limit));
        }
        if request.operation == Operation::Models || !self.reads_features() {
            return None;
        }
        let features = features();
        self.field(features).or_else(|| self.part(features)).or_else(|| self.beta(features))
    }

    fn field(&self, features: &Features) -> Option<Obstacle> {
        let dropped = |name: &str, null: bool| {
            null && self.passage.drops_nulls && (bedrock::drops_null(name) || name.starts_with("anthropic_"))
        };
        let unknown = self.fields.as_ref().and_then(|known| {
            let mut fields = features.fields.iter();
            fields.find(|(name, null)| !known.has(name) && !dropped(name, **null)).map(|(name, _)| name)
        });
        let refused = || features.members.iter().find(|name| self.refuses.has(name));
        let place = unknown.or_else(refused)?.clone();
        Some(Obstacle::Part { place, what: String::new() })
    }

    fn part(&self, features: &Features) -> Option<Obstacle> {
        let pairs = [
            (&self.tools, &features.tools),
            (&self.sources, &features.sources),
            (&self.blocks, &features.blocks),
        ];
        pairs.into_iter().find_map(|(known, used)| {
            let known = known.as_ref()?;
            let (what, place) = used.iter().find(|(kind, _)| !known.has(kind))?;
            Some(Obstacle::Part { place: place.clone(), what: what.clone() })
        })
    }

    fn beta(&self, features: &Features) -> Option<Obstacle> {
        let passes = self.passage.betas.as_ref()?;
        let lost = |flag: &&String| self.vital_betas.has(flag) && !passes.contains(flag);
        let what = features.betas.iter().find(lost)?.clone();
        Some(Obstacle::Part { place: "anthropic-beta".to_owned(), what })
    }
}

/// Names, of which `*` stands for any characters.
#[derive(Clone, Debug, Default)]
struct Names(Vec<WildMatchPattern<'*', '\0'>>);

impl Names {
    fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| pattern(name)).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn pattern(text: &str) -> WildMatchPattern<'*', '\0'> {
    WildMatchPattern::new(text)
}

#[cfg(test)]
mod tests;
