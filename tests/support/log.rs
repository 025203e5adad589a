//! What a test's thread logs: the lines of settled requests and the spans of attempts.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, Registry};

/// The fields of an event or a span as text.
pub type Line = BTreeMap<String, String>;

#[derive(Default)]
struct Seen {
    requests: Vec<Line>,
    spans: Vec<(String, Line)>,
}

/// With only one subscriber alive, a place in the code that is first reached by another thread is switched off for good.
static SECOND: OnceLock<Dispatch> = OnceLock::new();

/// Captures while it lives.
pub struct Log {
    seen: Arc<Mutex<Seen>>,
    _guard: DefaultGuard,
}

impl Log {
    /// Captures what this thread logs from now on.
    pub fn start() -> Self {
        SECOND.get_or_init(|| Dispatch::new(Registry::default()));
        let seen = Arc::<Mutex<Seen>>::default();
        let subscriber = Registry::default().with(Capture(seen.clone()));
        Self { seen, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines of the requests settled so far.
    pub fn requests(&self) -> Vec<Line> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).requests.clone()
    }

    /// The one request settled so far.
    pub fn request(&self) -> Line {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "one line a request: {requests:#?}");
        requests.remove(0)
    }

    /// The attributes of the spans of that name made so far.
    pub fn spans(&self, name: &str) -> Vec<Line> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.spans.iter().filter(|(span, _)| span == name).map(|(_, line)| line.clone()).collect()
    }
}

struct Capture(Arc<Mutex<Seen>>);

impl<S: Subscriber> Layer<S> for Capture {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let name = attributes.metadata().name().to_owned();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spans.push((name, fields.0));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "headgate::request" {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).requests.push(fields.0);
        }
    }
}

#[derive(Default)]
struct Fields(Line);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}
