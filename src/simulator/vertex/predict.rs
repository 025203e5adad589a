//! `.../models/{model}:rawPredict`, `:streamRawPredict` and `count-tokens:rawPredict`.
//!
//! What the front end refuses comes in Google's shape; what the model's side refuses keeps Anthropic's envelope.

use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::exchange::{self, Manner, Stop, early_mishap};
use super::super::hosted::{self, Offer};
use super::super::http::Call;
use super::super::owner::Owner;
use super::super::reply::Reply;
use super::super::request::{Version, check, parse};
use super::super::weigh::weigh;
use super::status::Status;

/// A path taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The project.
    pub project: &'a str,
    /// The location.
    pub location: &'a str,
    /// The model as it was called.
    pub model: &'a str,
    /// `rawPredict` or `streamRawPredict`.
    pub method: &'a str,
}

impl<'a> Place<'a> {
    /// Reads a path; `None` when it is another.
    pub fn read(path: &'a str) -> Option<Self> {
        let mut parts = path.strip_prefix("/v1/projects/")?.split('/');
        let project = parts.next()?;
        let fixed = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let ("locations", location, "publishers", "anthropic", "models") = fixed else { return None };
        let (model, method) = parts.next()?.split_once(':')?;
        let known = ["rawPredict", "streamRawPredict"].contains(&method) && parts.next().is_none();
        (known && !location.is_empty()).then_some(Self { project, location, model, method })
    }

    /// The model in the name of the first-party API; `None` for a name in that form, which is not known here.
    fn canonical(&self) -> Option<String> {
        let model = self.model.replace("%40", "@");
        match model.split_once('@') {
            Some((name, "default")) => Some(name.to_owned()),
            Some((name, version)) => Some(format!("{name}-{version}")),
            None => {
                let day = model.rsplit('-').next().unwrap_or_default();
                let dated = day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit());
                (!dated).then_some(model)
            }
        }
    }

    fn not_found(&self) -> Status {
        let Self { project, location, model, .. } = self;
        Status::new(
            "NOT_FOUND",
            format!(
                "Publisher Model `projects/{project}/locations/{location}/publishers/anthropic/models/{model}` was not \
                 found or your project does not have access to it."
            ),
        )
    }
}

/// Answers a message or counts tokens.
///
/// # Errors
/// What the front end refuses.
pub fn answer(call: &mut Call, place: Place<'_>, body: &[u8]) -> Result<Reply, Status> {
    if let Some(mishap) = early_mishap(call) {
        return Ok(mishap);
    }
    if let Some(query) = call.parts.uri.query().filter(|query| !query.is_empty() && *query != "alt=sse") {
        let name = query.split(['=', '&']).next().unwrap_or_default();
        return Err(Status::invalid(format!(
            "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. Field '{name}' could not \
             be found in request message."
        )));
    }
    let counting = place.model == "count-tokens";
    let model = if counting { None } else { Some(place.canonical().ok_or_else(|| place.not_found())?) };
    let request = match read(call, place, model.as_deref(), body) {
        Ok(request) => request,
        Err(error) => return Ok(Reply::error(&error, &call.request_id)),
    };
    if counting {
        return match exchange::direct(call, &request) {
            Ok(_) => Ok(Reply::json(200, format!(r#"{{"input_tokens":{}}}"#, weigh(&request).tokens))),
            Err(stop) => stopped(call, place, stop),
        };
    }
    let manner = Manner { mark: "vrtx_", quota: place.location };
    match exchange::answer(call, &request, manner) {
        Ok((answer, timings)) if request["stream"] == true => Ok(Reply::stream(&answer, timings)),
        Ok((answer, timings)) => Ok(Reply::message(&answer, timings)),
        Err(stop) => stopped(call, place, stop),
    }
}

/// Reads and checks a body, and puts it into first-party form. Counting names the model in the body.
fn read(call: &Call, place: Place<'_>, model: Option<&str>, body: &[u8]) -> Result<Value, ApiError> {
    let mut request = parse(body)?;
    let version = match request["anthropic_version"].as_str() {
        None => return Err(ApiError::invalid("anthropic_version: Field required")),
        Some("vertex-2023-10-16") => Version::Y2023,
        Some("2026-10-21") => Version::Y2026,
        Some(other) => {
            return Err(ApiError::invalid(format!("anthropic_version: \"{other}\" is not a valid version")));
        }
    };
    let web_search =
        matches!(call.key().map(|key| &key.owner), Some(Owner::Project(project)) if project.web_search);
    let fields: &[&str] = if model.is_none() { &["stream", "model"] } else { &["stream"] };
    hosted::check(&request, Offer { fields, web_search, nulls: true }).map_err(ApiError::invalid)?;
    check_betas(call, &request)?;
    if place.method == "rawPredict" && request["stream"] == true {
        return Err(ApiError::invalid("stream: streamRawPredict is the method for streams"));
    }
    let named = match model {
        Some(model) => model.to_owned(),
        None => {
            let model = request["model"].as_str().unwrap_or_default();
            Place { model, ..place }.canonical().unwrap_or_default()
        }
    };
    request["model"] = json!(named);
    check(&request, version, model.is_none(), false)?;
    Ok(request)
}

fn check_betas(call: &Call, request: &Value) -> Result<(), ApiError> {
    let header = call.header("anthropic-beta").unwrap_or_default().split(',');
    let listed = request["anthropic_beta"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match hosted::unknown_beta(header.chain(listed), &call.world.config.vertex.betas) {
        Some(flag) => {
            Err(ApiError::invalid(format!("Unexpected value(s) `{flag}` for the `anthropic-beta` header.")))
        }
        None => Ok(()),
    }
}

fn stopped(call: &Call, place: Place<'_>, stop: Stop) -> Result<Reply, Status> {
    let hints =
        matches!(call.key().map(|key| &key.owner), Some(Owner::Project(project)) if project.retry_info);
    match stop {
        Stop::Mishap(reply) => Ok(reply),
        Stop::Directions(message) => Ok(Reply::error(&ApiError::invalid(message), &call.request_id)),
        Stop::UnknownModel => Err(place.not_found()),
        Stop::Crowded | Stop::Overloaded | Stop::Refused(_) | Stop::Throttled(_) => {
            Err(Status::usual("RESOURCE_EXHAUSTED"))
        }
        Stop::Exhausted(exhausted) => {
            let status = Status::new("RESOURCE_EXHAUSTED", exhausted.message());
            Err(if hints { status.retry_in(exhausted.wait) } else { status })
        }
        Stop::Stranger => Err(Status::usual("UNAUTHENTICATED")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_project_location_model_and_method() {
        let base = "/v1/projects/p-1/locations/us-east5/publishers/anthropic/models";
        let path = format!("{base}/claude-sonnet-4-5@20250929:streamRawPredict");
        let place = Place::read(&path).unwrap();
        assert_eq!((place.project, place.location, place.method), ("p-1", "us-east5", "streamRawPredict"));
        assert_eq!(place.canonical().as_deref(), Some("claude-sonnet-4-5-20250929"));
        for wrong in ["claude-x:predict", "claude-x", "claude-x:rawPredict/more"] {
            assert_eq!(Place::read(&format!("{base}/{wrong}")), None, "{wrong}");
        }
    }

    #[test]
    fn first_party_dates_are_not_known_here() {
        let canonical = |model| Place { project: "", location: "", model, method: "" }.canonical();
        assert_eq!(canonical("claude-sonnet-4-5-20250929"), None);
        assert_eq!(canonical("claude-opus-5").as_deref(), Some("claude-opus-5"));
        assert_eq!(canonical("claude-3-haiku%40default").as_deref(), Some("claude-3-haiku"));
    }
}
