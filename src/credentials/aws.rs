//! AWS keys from the platform's own chain: environment, profile, web identity, container, instance (IMDSv2).
//!
//! By Amazon's `aws-config`, over TLS with ring; it reads the process's environment and `~/.aws` itself, as every AWS tool does.
//! The chain is made anew for each fetch, so that files which changed are read again; [`super::source`] does the caching.

use std::time::SystemTime;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headgate_providers::{AwsKeys, Credential, Secret};

use super::source::{Fetch, Fetching};
use super::state::{Again, At, Fresh, Refusal};
use crate::config::checked::Proxy;

/// Gets keys from the default chain.
#[derive(Debug)]
pub struct Chain {
    /// Where STS and SSO are asked.
    pub region: String,
    /// The backend's proxy, for what is asked by https.
    pub proxy: Option<Proxy>,
    /// The backend's extra roots.
    pub ca_pem: Option<Vec<u8>>,
}

impl Fetch for Chain {
    fn fetch(&self, at: At) -> Fetching<'_> {
        Box::pin(async move {
            let found = self.chain().await?.provide_credentials().await;
            found.map(|keys| fresh(&keys, at.wall)).map_err(|error| refusal(&error))
        })
    }
}

impl Chain {
    async fn chain(&self) -> Result<DefaultCredentialsChain, Refusal> {
        let wrong =
            |error: &dyn std::error::Error| Refusal::new(Again::Later, format!("AWS client: {error}"));
        let mut roots = TrustStore::default();
        if let Some(pem) = &self.ca_pem {
            roots.add_pem_certificate(pem.clone());
        }
        let context = TlsContext::builder().with_trust_store(roots).build().map_err(|error| wrong(&error))?;
        let proxy = match &self.proxy {
            Some(proxy) => through(proxy).map_err(|error| wrong(&*error))?,
            None => ProxyConfig::disabled(),
        };
        let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
        let client = Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder().proxy_config(proxy.clone());
            if let Some(settings) = settings {
                connector = connector.connector_settings(settings.clone());
            }
            connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
            connector.tls_provider(ring.clone()).tls_context(context.clone()).build()
        });
        let config = ProviderConfig::without_region().with_http_client(client);
        let region = aws_config::Region::new(self.region.clone());
        Ok(DefaultCredentialsChain::builder().configure(config).region(region).build().await)
    }
}

/// The proxy as the SDK wants it; what it asks by plain http are the machine's own endpoints.
fn through(proxy: &Proxy) -> Result<ProxyConfig, Box<dyn std::error::Error + Send + Sync>> {
    let host = if proxy.host.contains(':') { format!("[{}]", proxy.host) } else { proxy.host.clone() };
    let config = ProxyConfig::https(format!("http://{host}:{}", proxy.port))?;
    let basic = proxy.authorization.as_ref().and_then(|line| line.expose().strip_prefix("Basic "));
    let Some(basic) = basic else { return Ok(config) };
    let text = String::from_utf8(STANDARD.decode(basic)?)?;
    let (user, password) = text.split_once(':').unwrap_or((&text, ""));
    Ok(config.with_basic_auth(user, password))
}

fn fresh(keys: &Credentials, wall: SystemTime) -> Fresh {
    let secret = |text: &str| Secret::new(text.to_owned());
    Fresh {
        credential: Credential::Aws(AwsKeys {
            access_key_id: secret(keys.access_key_id()),
            secret_access_key: secret(keys.secret_access_key()),
            session_token: keys.session_token().map(secret),
        }),
        lines: Vec::new(),
        lifetime: keys.expiry().map(|end| end.duration_since(wall).unwrap_or_default()),
    }
}

fn refusal(error: &CredentialsError) -> Refusal {
    let again = match error {
        CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_) => Again::Soon,
        // Nothing is configured yet, or wrongly: files and roles are put there by others, later.
        CredentialsError::CredentialsNotLoaded(_)
        | CredentialsError::InvalidConfiguration(_)
        | CredentialsError::Unhandled(_)
        | _ => Again::Later,
    };
    let mut detail = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        detail = format!("{detail}: {inner}");
        cause = inner.source();
    }
    Refusal::new(again, detail)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn session_keys_last_until_their_end_and_long_lived_ones_for_good() {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let keys = |end: Option<SystemTime>| {
            Credentials::new("AKID", "very-secret", Some("session".to_owned()), end, "test")
        };
        for (end, lifetime) in [
            (Some(wall + Duration::from_secs(900)), Some(Duration::from_secs(900))),
            (Some(wall - Duration::from_secs(1)), Some(Duration::ZERO)),
            (None, None),
        ] {
            let fresh = fresh(&keys(end), wall);
            assert_eq!(fresh.lifetime, lifetime);
            let Credential::Aws(keys) = &fresh.credential else { panic!("no AWS keys") };
            assert_eq!(
                (keys.access_key_id.expose(), keys.secret_access_key.expose()),
                ("AKID", "very-secret")
            );
            assert_eq!(keys.session_token.as_ref().map(Secret::expose), Some("session"));
            assert!(!format!("{fresh:?}").contains("very-secret"));
        }
    }

    #[test]
    fn an_endpoint_in_trouble_is_asked_again_soon_and_an_empty_machine_later() {
        for (error, again) in [
            (CredentialsError::provider_error("imds: connection refused"), Again::Soon),
            (CredentialsError::provider_timed_out(Duration::from_secs(1)), Again::Soon),
            (CredentialsError::not_loaded("no providers in chain provided credentials"), Again::Later),
            (CredentialsError::invalid_configuration("a loop of roles"), Again::Later),
        ] {
            let refusal = refusal(&error);
            assert_eq!(refusal.again, again, "{}", refusal.detail);
        }
    }
}
