//! Whose key it is, and who pays for what is produced.

use std::sync::Arc;

use super::bedrock::account::{Account, Reservation};
use super::clock::Clock;
use super::organization::Organization;
use super::vertex::project::Project;

/// Who shares limits among keys.
#[derive(Clone, Debug)]
pub enum Owner {
    /// At Anthropic.
    Organization(Arc<Organization>),
    /// At AWS.
    Account(Arc<Account>),
    /// At Google.
    Project(Arc<Project>),
}

impl Owner {
    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        match self {
            Self::Organization(organization) => &organization.name,
            Self::Account(account) => &account.name,
            Self::Project(project) => &project.name,
        }
    }

    /// Its id on the wire.
    pub fn id(&self) -> &str {
        match self {
            Self::Organization(organization) => &organization.id,
            Self::Account(account) => &account.id,
            Self::Project(project) => &project.id,
        }
    }

    /// Requests at once; 0 = no limit.
    pub fn concurrent(&self) -> usize {
        match self {
            Self::Organization(organization) => organization.concurrent,
            Self::Account(account) => account.concurrent,
            Self::Project(project) => project.concurrent,
        }
    }
}

/// Who pays for an admitted request.
#[derive(Debug)]
pub enum Payer {
    /// An organization, for a model.
    Organization(Arc<Organization>, String),
    /// An account: paid ahead, settled when the reservation is dropped.
    Account(Reservation),
    /// A project, by the name of a quota.
    Project(Arc<Project>, String),
}

/// Charges produced tokens.
#[derive(Debug)]
pub struct Meter {
    /// Who pays; nobody for what was not admitted.
    pub payer: Option<Payer>,
    /// The clock.
    pub clock: Clock,
}

impl Meter {
    /// Charges.
    pub fn charge(&mut self, tokens: u64) {
        match &mut self.payer {
            Some(Payer::Organization(organization, model)) if tokens > 0 => {
                organization.produced(model, tokens, self.clock.now());
            }
            Some(Payer::Project(project, quota)) if tokens > 0 => {
                project.produced(quota, tokens, self.clock.now());
            }
            Some(Payer::Account(reservation)) => reservation.produced(tokens),
            Some(Payer::Organization(..) | Payer::Project(..)) | None => {}
        }
    }
}
