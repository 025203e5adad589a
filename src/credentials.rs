//! Credentials that end: access tokens of Google, session keys of AWS. Refreshed ahead, by one task each, never by a request.
//!
//! A key of the pool presents a [`Holder`]: either a secret that stays, or a [`Source`] that is kept fresh on a runtime of its own
//! (made when the first such key appears). Sources are kept by key id, so that a reload finds them; what a reload changes is the
//! way to their endpoints. A call that finds nothing usable waits for the refresh under way; if that fails, its key is to blame.

pub mod aws;
pub mod exchange;
pub mod google;
pub mod source;
pub mod state;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use headgate_providers::{AwsKeys, Credential as WireCredential, Fault};
use tokio::runtime::{Handle, Runtime};

use crate::clock::{Clock, Moment};
use crate::config::checked::{self, AuthScheme, Backend, Credential, ProviderSettings};
use crate::pool::health::KeyId;

use exchange::Exchange;
use google::{Google, Origin};
use source::{Fetch, Source};
pub use state::Held;

/// Makes what fetches the credentials of a key.
type Fetchers = Box<dyn Fn(&Arc<Backend>, &Credential) -> Option<Arc<dyn Fetch>> + Send + Sync>;

/// What a key presents.
#[derive(Clone)]
pub enum Holder {
    /// A secret that stays as it is.
    Fixed(Arc<Held>),
    /// One that ends and is refreshed.
    Refreshed(Arc<Source>),
}

impl Holder {
    /// The credential of the moment; of a refreshed one, what the refresh under way brings by `deadline`.
    ///
    /// # Errors
    /// As [`Source::obtain`].
    pub async fn obtain(&self, deadline: Moment) -> Result<Arc<Held>, Fault> {
        match self {
            Self::Fixed(held) => Ok(held.clone()),
            Self::Refreshed(source) => source.obtain(deadline).await,
        }
    }

    /// Upstream refused `held`: tells whether [`obtain`](Self::obtain) may bring a better one.
    #[must_use]
    pub fn refuse(&self, held: &Held) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Refreshed(source) => source.refuse(held.generation),
        }
    }
}

/// All refreshed credentials, across snapshots of settings.
pub struct Credentials {
    clock: Clock,
    settings: Arc<ArcSwap<checked::Credentials>>,
    sources: DashMap<KeyId, Arc<Source>>,
    fetchers: Fetchers,
    runtime: Own,
}

impl Credentials {
    /// Fetched from where the settings say, on a runtime of its own.
    #[must_use]
    pub fn machine(clock: Clock, settings: checked::Credentials) -> Self {
        Self::with(clock, settings, Box::new(fetcher), Own::Lazy(OnceLock::new()))
    }

    /// Fetched by what `fetchers` makes, on the runtime of `handle`: for tests with time paused.
    #[must_use]
    pub fn scripted(
        clock: Clock,
        settings: checked::Credentials,
        fetchers: Fetchers,
        handle: Handle,
    ) -> Self {
        Self::with(clock, settings, fetchers, Own::Given(handle))
    }

    fn with(clock: Clock, settings: checked::Credentials, fetchers: Fetchers, runtime: Own) -> Self {
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        Self { clock, settings, sources: DashMap::new(), fetchers, runtime }
    }

    /// New times; they count from the next refresh on.
    pub fn reload(&self, settings: checked::Credentials) {
        self.settings.store(Arc::new(settings));
    }

    /// What the key `id` of `backend` presents.
    #[must_use]
    pub fn holder(&self, id: &KeyId, backend: &Arc<Backend>, credential: &Credential) -> Holder {
        let fetch = match backend.auth {
            AuthScheme::None => None,
            AuthScheme::XApiKey | AuthScheme::Bearer => (self.fetchers)(backend, credential),
        };
        let Some(fetch) = fetch else {
            return Holder::Fixed(Arc::new(Held::fixed(wire(backend.auth, credential))));
        };
        if let Some(source) = self.sources.get(id) {
            source.retarget(fetch);
            return Holder::Refreshed(source.clone());
        }
        let source = Source::new(id.name.clone(), self.clock, self.settings.clone(), fetch);
        self.sources.insert(id.clone(), source.clone());
        match self.runtime.handle() {
            Ok(handle) => drop(handle.spawn(source::keep(Arc::downgrade(&source)))),
            Err(error) => tracing::error!(%error, key = %id.name, "no runtime to refresh credentials on"),
        }
        Holder::Refreshed(source)
    }

    /// Forgets sources that no snapshot names any more; leases keep theirs until they end.
    pub fn retain(&self, keys: &[KeyId]) {
        self.sources.retain(|id, _| keys.contains(id));
    }
}

/// How a credential that stays is presented.
fn wire(auth: AuthScheme, credential: &Credential) -> WireCredential {
    match (auth, credential) {
        (AuthScheme::XApiKey, Credential::Secret(secret)) => WireCredential::ApiKey(secret.clone()),
        (AuthScheme::Bearer, Credential::Secret(secret)) => WireCredential::Bearer(secret.clone()),
        (
            AuthScheme::XApiKey | AuthScheme::Bearer,
            Credential::Aws { access_key_id, secret_access_key, session_token },
        ) => WireCredential::Aws(AwsKeys {
            access_key_id: access_key_id.clone(),
            secret_access_key: secret_access_key.clone(),
            session_token: session_token.clone(),
        }),
        (AuthScheme::None, _)
        | (_, Credential::ServiceAccount(_) | Credential::Chain(_) | Credential::None) => {
            WireCredential::None
        }
    }
}

/// What fetches a credential that ends; `None` for one that stays.
fn fetcher(backend: &Arc<Backend>, credential: &Credential) -> Option<Arc<dyn Fetch>> {
    let google = |origin| Arc::new(Google { origin, exchange: Exchange::of(backend) }) as Arc<dyn Fetch>;
    match (credential, &backend.provider) {
        (Credential::ServiceAccount(text), _) => Some(google(Origin::Document(text.clone()))),
        (Credential::Chain(_), ProviderSettings::Bedrock { region, .. }) => Some(Arc::new(aws::Chain {
            region: region.clone(),
            proxy: backend.proxy.clone(),
            ca_pem: backend.ca_pem.clone(),
        })),
        (Credential::Chain(environment), ProviderSettings::Vertex { .. }) => {
            Some(google(Origin::Ambient(environment.clone())))
        }
        (Credential::Chain(_), ProviderSettings::Anthropic | ProviderSettings::OpenAi)
        | (Credential::Secret(_) | Credential::Aws { .. } | Credential::None, _) => None,
    }
}

/// Where sources are kept fresh.
enum Own {
    /// One thread, made when it is first needed.
    Lazy(OnceLock<Runtime>),
    /// Given by a test.
    Given(Handle),
}

impl Own {
    fn handle(&self) -> std::io::Result<&Handle> {
        match self {
            Self::Given(handle) => Ok(handle),
            Self::Lazy(runtime) => {
                if runtime.get().is_none() {
                    let mut builder = tokio::runtime::Builder::new_multi_thread();
                    let made =
                        builder.worker_threads(1).thread_name("headgate-credentials").enable_all().build()?;
                    // A second one is made at most once, by two reloads at the same time, and ends here.
                    if let Err(second) = runtime.set(made) {
                        second.shutdown_background();
                    }
                }
                runtime.get().map(Runtime::handle).ok_or_else(|| std::io::Error::other("the runtime is gone"))
            }
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Self::Lazy(runtime) = self
            && let Some(runtime) = runtime.take()
        {
            runtime.shutdown_background();
        }
    }
}
