//! Claude on Google Vertex AI as clients see it, and where their tokens come from.

mod assertion;
pub mod config;
pub mod identity;
mod predict;
pub mod project;
pub mod status;
pub mod tokens;

use hyper::header::HeaderMap;

use super::http::{Call, bearer};
use super::owner::Owner;
use super::reply::Reply;
use super::world::World;
use predict::Place;
use status::Status;
use tokens::Found;

const PAGE: &str = "<!DOCTYPE html>\n<html lang=en>\n<title>Error 404 (Not Found)!!1</title>\n<p><b>404.</b> That\u{2019}s \
                    an error.\n<p>The requested URL was not found on this server.\n";

/// The place of the key whose token a request carries, good or expired.
pub fn identify(world: &World, headers: &HeaderMap) -> Option<usize> {
    match world.tokens.find(bearer(headers)?, world.clock.now()) {
        Found::Good(key) | Found::Expired(key) => Some(key),
        Found::Unknown => None,
    }
}

/// Whether errors of a path come in an array.
pub fn wraps(path: &str) -> bool {
    path.ends_with(":streamRawPredict")
}

/// Answers a call.
pub fn answer(call: &mut Call, body: &[u8]) -> Reply {
    let path = call.path().to_owned();
    route(call, &path, body).unwrap_or_else(|status| status.reply(wraps(&path)))
}

fn route(call: &mut Call, path: &str, body: &[u8]) -> Result<Reply, Status> {
    let impersonated = path
        .strip_prefix("/v1/projects/-/serviceAccounts/")
        .and_then(|rest| rest.strip_suffix(":generateAccessToken"));
    let place = Place::read(path);
    if call.parts.method != "POST" || (impersonated.is_none() && place.is_none()) {
        return Ok(Reply::whole(404, "text/html; charset=UTF-8", PAGE));
    }
    verify(call)?;
    if let Some(email) = impersonated {
        return identity::impersonate(&call.world, &email.replace("%40", "@"));
    }
    let Some(place) = place else { return Err(Status::usual("NOT_FOUND")) };
    if !matches!(call.key().map(|key| &key.owner), Some(Owner::Project(project)) if project.id == place.project)
    {
        let message = format!(
            "Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/projects/{}/locations/\
             {}/publishers/anthropic/models/{}' (or it may not exist).",
            place.project, place.location, place.model
        );
        return Err(Status::new("PERMISSION_DENIED", message).reason("IAM_PERMISSION_DENIED"));
    }
    predict::answer(call, place, body)
}

fn verify(call: &Call) -> Result<(), Status> {
    let Some(token) = bearer(&call.parts.headers) else {
        let message = "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie \
                       or other valid authentication credential.";
        return Err(Status::new("UNAUTHENTICATED", message).reason("CREDENTIALS_MISSING"));
    };
    let good = matches!(call.world.tokens.find(token, call.world.clock.now()), Found::Good(_));
    if good && call.key().is_some_and(|key| !key.revoked()) {
        Ok(())
    } else {
        Err(Status::usual("UNAUTHENTICATED").reason("ACCESS_TOKEN_EXPIRED"))
    }
}
