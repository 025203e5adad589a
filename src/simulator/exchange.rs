//! The course of one message, the same in every dialect: faults, the prompt's own directions, limits, the answer.
//!
//! A dialect reads its request into the first-party form, in which equal requests get equal answers; what stops the
//! course comes back as a [`Stop`], for the dialect to put into its own words.

use std::sync::Arc;

use serde_json::Value;
use wildmatch::WildMatch;

use super::answer::{Answer, Block, compose};
use super::bedrock::account::{Asked, Throttle};
use super::config::Timings;
use super::fault::FaultKind;
use super::http::Call;
use super::marker::{self, Directions};
use super::organization::Refusal;
use super::owner::{Owner, Payer};
use super::reply::Reply;
use super::request::last_user_text;
use super::vertex::project::{Exhausted, Wanted};
use super::weigh::{Split, weigh};

/// Why there is no answer.
#[derive(Debug)]
pub enum Stop {
    /// A fault answers.
    Mishap(Reply),
    /// The prompt's directions make no sense.
    Directions(String),
    /// Nobody knows this model.
    UnknownModel,
    /// Too many requests at once with this key or of this owner.
    Crowded,
    /// Too many requests at once over all.
    Overloaded,
    /// An organization's limit.
    Refused(Refusal),
    /// An account's quota.
    Throttled(Throttle),
    /// A project's quota.
    Exhausted(Exhausted),
    /// The key belongs elsewhere.
    Stranger,
}

/// How a dialect makes its answers.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'a> {
    /// What the ids of messages and tool calls carry behind their prefix, such as `vrtx_`.
    pub mark: &'a str,
    /// The name of the quota, where it is not the model's.
    pub quota: &'a str,
}

/// A fault that is an answer and strikes whatever the body says. One that names the model reads the body for it.
pub fn early_mishap(call: &Call) -> Option<Reply> {
    call.fault.as_ref().filter(|fault| fault.kind != FaultKind::ModelNotFound)?;
    call.mishap()
}

/// Reads the prompt's directions, after faults that ask for the model; a fault that is an answer stops here.
pub fn direct(call: &mut Call, request: &Value) -> Result<Directions, Stop> {
    let model = request["model"].as_str().unwrap_or_default().to_owned();
    call.model.clone_from(&model);
    call.look_for_fault(Some(&model));
    let manners = call.world.manners();
    let directions =
        marker::read(last_user_text(request), manners.timings, &manners.answer).map_err(Stop::Directions)?;
    if call.fault.is_none() {
        call.fault.clone_from(&directions.fault);
    }
    let config = &call.world.config;
    let known = config.accept_models.iter().any(|pattern| WildMatch::new(pattern).matches(&model))
        || config.models.iter().any(|known| known.id == model);
    if !known {
        return Err(Stop::UnknownModel);
    }
    call.mishap().map_or(Ok(directions), |mishap| Err(Stop::Mishap(mishap)))
}

/// Answers a request in first-party form that its dialect has checked.
pub fn answer(call: &mut Call, request: &Value, manner: Manner<'_>) -> Result<(Answer, Timings), Stop> {
    let directions = direct(call, request)?;
    crowded(call)?;
    let split = admit(call, request, manner)?;
    let id = call.world.id(&format!("msg_{}01", manner.mark), 22);
    let mut answer = compose(request, &directions.answer, id, split);
    for block in &mut answer.blocks {
        if let Block::ToolUse { kind: "tool_use", id, .. } = block {
            *id = id.replacen("toolu_", &format!("toolu_{}", manner.mark), 1);
        }
    }
    Ok((answer, directions.timings))
}

fn admit(call: &mut Call, request: &Value, manner: Manner<'_>) -> Result<Split, Stop> {
    let Some(owner) = call.key().map(|key| key.owner.clone()) else { return Err(Stop::Stranger) };
    let (world, model, prompt) = (&call.world, call.model.as_str(), weigh(request));
    let (cache_min, now) = (world.config.cache_min_tokens, world.clock.now());
    let (split, payer) = match owner {
        Owner::Organization(organization) => {
            let split = organization.admit(model, &prompt, cache_min, now).map_err(Stop::Refused)?;
            (split, Payer::Organization(organization, model.to_owned()))
        }
        Owner::Account(account) => {
            let max_tokens = request["max_tokens"].as_u64().unwrap_or(0);
            let asked = Asked { model, quota: manner.quota, prompt: &prompt, cache_min, max_tokens };
            let (split, reservation) = account.admit(asked, &world.clock).map_err(Stop::Throttled)?;
            (split, Payer::Account(reservation))
        }
        Owner::Project(project) => {
            let wanted = Wanted { model, location: manner.quota, prompt: &prompt, cache_min };
            let (split, quota) = project.admit(wanted, now).map_err(Stop::Exhausted)?;
            (split, Payer::Project(Arc::clone(&project), quota))
        }
    };
    call.payer = Some(payer);
    Ok(split)
}

/// Refuses a request beyond what may run at once; the request itself is counted already.
fn crowded(call: &Call) -> Result<(), Stop> {
    let Some(key) = call.key() else { return Err(Stop::Stranger) };
    let (book, owner) = (&call.world.book, &key.owner);
    let of_key = key.concurrent > 0 && book.in_flight(|stats| stats.name == key.name) > key.concurrent;
    let of_owner = owner.concurrent() > 0
        && book.in_flight(|stats| stats.organization == owner.name()) > owner.concurrent();
    if of_key || of_owner {
        return Err(Stop::Crowded);
    }
    let everywhere = call.world.config.concurrent;
    if everywhere > 0 && book.in_flight(|_| true) > everywhere { Err(Stop::Overloaded) } else { Ok(()) }
}
