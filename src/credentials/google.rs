//! Access tokens for Google Cloud: one flow for each kind of credential file, none of which keeps anything.
//!
//! Written here, over one HTTP exchange, and not by Google's own crate: see "Conflicts settled" of ARCHITECTURE.md.

mod account;
mod assertion;
mod reply;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headgate_providers::{Credential, Secret};
use serde_json::json;

use account::{Account, Federated, Kind, Place, User};
use assertion::SCOPE;
use reply::Grant;

use super::exchange::{Ask, Exchange, form};
use super::source::{Fetch, Fetching};
use super::state::{Again, At, Fresh, Refusal};
use crate::config::Environment;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Where a credential file comes from.
#[derive(Debug)]
pub enum Origin {
    /// Its text, of a key's `service_account`.
    Document(Secret),
    /// The default chain, looked through at every refresh: its files may have been replaced.
    Ambient(Environment),
}

/// Gets access tokens.
#[derive(Debug)]
pub struct Google {
    /// Where the credential file comes from.
    pub origin: Origin,
    /// How endpoints are reached.
    pub exchange: Exchange,
}

impl Fetch for Google {
    fn fetch(&self, at: At) -> Fetching<'_> {
        Box::pin(async move {
            let account = match &self.origin {
                Origin::Document(text) => Account::read(text.expose())?,
                Origin::Ambient(environment) => Account::ambient(environment).await?,
            };
            let grant = self.grant(&account.kind, at.wall).await?;
            let quota =
                account.quota_project.map(|project| ("x-goog-user-project".to_owned(), Secret::new(project)));
            Ok(Fresh {
                credential: Credential::Bearer(grant.token),
                lines: quota.into_iter().collect(),
                lifetime: Some(grant.lifetime),
            })
        })
    }
}

impl Google {
    async fn grant(&self, kind: &Kind, wall: SystemTime) -> Result<Grant, Refusal> {
        match kind {
            Kind::Impersonated { source, url, delegates } => {
                let own = self.plain_grant(source, wall).await?;
                self.impersonate(url, &own.token, (delegates, None), wall).await
            }
            Kind::Service(_) | Kind::User(_) | Kind::Federated(_) | Kind::Instance(_) => {
                self.plain_grant(kind, wall).await
            }
        }
    }

    async fn plain_grant(&self, kind: &Kind, wall: SystemTime) -> Result<Grant, Refusal> {
        match kind {
            Kind::Service(service) => {
                let assertion = assertion::sign(service, wall)?;
                let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                let body = form(&[("grant_type", grant), ("assertion", assertion.expose())]);
                self.post(&service.token_uri, FORM, body, None).await.and_then(|answer| reply::token(&answer))
            }
            Kind::User(user) => self.user(user).await,
            Kind::Federated(federated) => self.federated(federated, wall).await,
            Kind::Instance(host) => self.instance(host).await,
            Kind::Impersonated { .. } => {
                Err(Refusal::new(Again::Later, "the credential file impersonates by one that impersonates"))
            }
        }
    }

    async fn user(&self, user: &User) -> Result<Grant, Refusal> {
        let body = form(&[
            ("grant_type", "refresh_token"),
            ("client_id", &user.client_id),
            ("client_secret", user.client_secret.expose()),
            ("refresh_token", user.refresh_token.expose()),
        ]);
        self.post(&user.token_uri, FORM, body, None).await.and_then(|answer| reply::token(&answer))
    }

    async fn instance(&self, host: &str) -> Result<Grant, Refusal> {
        let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
        let headers = vec![("metadata-flavor".to_owned(), Secret::new("Google".to_owned()))];
        let answer = self.exchange.ask(Ask { url, headers, body: None }).await?;
        // Anything else that answers at this name is not the metadata server.
        if answer.headers.get("metadata-flavor").is_none_or(|flavour| flavour != "Google") {
            return Err(Refusal::new(Again::Soon, "what answers as metadata server is none"));
        }
        reply::token(&answer)
    }

    async fn federated(&self, federated: &Federated, wall: SystemTime) -> Result<Grant, Refusal> {
        let subject = self.subject(federated).await?;
        let mut pairs = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", &federated.audience),
            ("scope", SCOPE),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token", subject.expose()),
            ("subject_token_type", &federated.subject_token_type),
        ];
        let options =
            federated.workforce_project.as_ref().map(|project| json!({ "userProject": project }).to_string());
        pairs.extend(options.as_deref().map(|options| ("options", options)));
        let authorization = federated.client.as_ref().map(|(id, secret)| {
            Secret::new(format!("Basic {}", STANDARD.encode(format!("{id}:{}", secret.expose()))))
        });
        let answer = self.post(&federated.token_url, FORM, form(&pairs), authorization).await?;
        let own = reply::token(&answer)?;
        match &federated.impersonation_url {
            None => Ok(own),
            Some(url) => {
                self.impersonate(url, &own.token, (&[], federated.impersonation_seconds), wall).await
            }
        }
    }

    async fn subject(&self, federated: &Federated) -> Result<Secret, Refusal> {
        let source = &federated.source;
        let text = match &source.place {
            Place::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                text.map_err(|error| {
                    Refusal::new(Again::Later, format!("the subject's token file: {error}"))
                })?
            }
            Place::Url(url, headers) => {
                let ask = Ask { url: url.clone(), headers: headers.clone(), body: None };
                let answer = self.exchange.ask(ask).await?;
                if !answer.status.is_success() {
                    return Err(reply::refusal(&answer));
                }
                String::from_utf8_lossy(&answer.body).into_owned()
            }
        };
        reply::subject(text, source.field.as_deref())
    }

    async fn impersonate(
        &self,
        url: &str,
        token: &Secret,
        (delegates, seconds): (&[String], Option<u64>),
        wall: SystemTime,
    ) -> Result<Grant, Refusal> {
        let lifetime = Duration::from_secs(seconds.unwrap_or(3600)).as_secs();
        let ask = json!({ "delegates": delegates, "scope": [SCOPE], "lifetime": format!("{lifetime}s") });
        let bearer = Secret::new(format!("Bearer {}", token.expose()));
        let answer = self.post(url, JSON, Secret::new(ask.to_string()), Some(bearer)).await?;
        reply::impersonated(&answer, wall)
    }

    async fn post(
        &self,
        url: &str,
        media: &'static str,
        body: Secret,
        authorization: Option<Secret>,
    ) -> Result<super::exchange::Answer, Refusal> {
        let headers = authorization.map(|value| ("authorization".to_owned(), value)).into_iter().collect();
        self.exchange.ask(Ask { url: url.to_owned(), headers, body: Some((media, body)) }).await
    }
}

#[cfg(test)]
mod tests;
