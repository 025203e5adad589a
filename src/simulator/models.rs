//! `GET /v1/models` and `/v1/models/{id}`.

use serde_json::{Value, json};

use super::config::ModelConfig;
use super::error::ApiError;
use super::http::Call;
use super::reply::Reply;
use super::request::Version;

/// Answers either.
pub fn answer(call: &mut Call) -> Result<Reply, ApiError> {
    if let Some(mishap) = call.mishap() {
        return Ok(mishap);
    }
    Version::read(call.header("anthropic-version"))?;
    let models = &call.world.config.models;
    if let Some(id) = call.path().strip_prefix("/v1/models/") {
        let found = models.iter().find(|model| model.id == id);
        let model = found.ok_or_else(|| ApiError::new(404, format!("model: {id}")))?;
        return Ok(Reply::json(200, entry(model).to_string()));
    }
    page(models, call.parts.uri.query().unwrap_or("")).map(|page| Reply::json(200, page.to_string()))
}

fn page(models: &[ModelConfig], query: &str) -> Result<Value, ApiError> {
    let option = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(known, _)| *known == name).map(|(_, value)| value).next_back()
    };
    let limit: usize = match option("limit").map(str::parse) {
        None => 20,
        Some(Ok(limit @ 1..=1_000)) => limit,
        Some(Ok(_) | Err(_)) => return Err(ApiError::invalid("limit: Input should be between 1 and 1000")),
    };
    let place = |id: &str| {
        let found = models.iter().position(|model| model.id == id);
        found.ok_or_else(|| ApiError::invalid(format!("{id}: no such model")))
    };
    let (data, has_more) = match (option("before_id"), option("after_id")) {
        (Some(_), Some(_)) => return Err(ApiError::invalid("before_id and after_id exclude each other")),
        (Some(before), None) => {
            let end = place(before)?;
            let start = end.saturating_sub(limit);
            (&models[start..end], start > 0)
        }
        (None, after) => {
            let start = after.map(place).transpose()?.map_or(0, |at| at + 1);
            let end = (start + limit).min(models.len());
            (&models[start..end], end < models.len())
        }
    };
    let id = |model: Option<&ModelConfig>| model.map(|model| model.id.clone());
    Ok(json!({
        "data": data.iter().map(entry).collect::<Vec<_>>(),
        "has_more": has_more,
        "first_id": id(data.first()),
        "last_id": id(data.last()),
    }))
}

fn entry(model: &ModelConfig) -> Value {
    json!({
        "type": "model",
        "id": model.id,
        "display_name": model.display_name,
        "created_at": model.created_at,
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    })
}

#[cfg(test)]
mod tests {
    use super::super::config::SimulatorConfig;
    use super::*;

    fn ids(query: &str) -> (Vec<String>, bool) {
        let page = page(&SimulatorConfig::default().models, query).unwrap();
        let id = |model: &Value| model["id"].as_str().unwrap().to_owned();
        (page["data"].as_array().unwrap().iter().map(id).collect(), page["has_more"] == true)
    }

    #[test]
    fn pages_meet_without_gap_or_overlap() {
        let (all, more) = ids("");
        assert_eq!((all.len(), more), (8, false));
        let (first, more) = ids("limit=3");
        assert_eq!((&first[..], more), (&all[..3], true));
        assert_eq!(ids(&format!("limit=5&after_id={}", first[2])), (all[3..].to_vec(), false));
        assert_eq!(ids(&format!("limit=2&before_id={}", all[3])), (all[1..3].to_vec(), true));
    }

    #[test]
    fn a_bad_limit_is_refused() {
        assert!(page(&[], "limit=0").is_err());
        assert!(page(&[], "after_id=nobody").is_err());
    }
}
