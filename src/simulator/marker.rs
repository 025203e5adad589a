//! Directions inside a prompt: `[[sim:scenario=tools,events=100,pace_ms=5,fault=reset,after_events=3]]`.
//!
//! `scenario`, `events`, `bytes`, `latency_ms`, `ttft_ms` and `pace_ms` replace the configured defaults for one
//! request. `fault` names a kind of fault; every other option is then a knob of it.

use serde_json::{Map, Value};

use super::config::{AnswerConfig, Timings};
use super::fault::Fault;

/// What one request asks for.
#[derive(Clone, Debug)]
pub struct Directions {
    /// How fast.
    pub timings: Timings,
    /// What.
    pub answer: AnswerConfig,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

/// Reads the last marker in a text over the defaults; `Err` names what cannot be understood.
pub fn read(text: &str, timings: Timings, answer: &AnswerConfig) -> Result<Directions, String> {
    let mut directions = Directions { timings, answer: answer.clone(), fault: None };
    let Some((_, rest)) = text.rsplit_once("[[sim:") else { return Ok(directions) };
    let Some((inside, _)) = rest.split_once("]]") else { return Ok(directions) };
    let mut knobs = Map::new();
    for pair in inside.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("[[sim: {pair} has no value"))?;
        let (name, value) = (name.trim(), value.trim());
        let wrong = |_| format!("[[sim: {name}={value} is no number");
        match name {
            "scenario" => {
                directions.answer.scenario =
                    serde_json::from_value(value.into()).map_err(|error| format!("[[sim: {error}"))?;
            }
            "events" => directions.answer.events = value.parse().map_err(wrong)?,
            "bytes" => directions.answer.bytes = value.parse().map_err(wrong)?,
            "latency_ms" => directions.timings.latency_ms = value.parse().map_err(wrong)?,
            "ttft_ms" => directions.timings.ttft_ms = value.parse().map_err(wrong)?,
            "pace_ms" => directions.timings.pace_ms = value.parse().map_err(wrong)?,
            "fault" => drop(knobs.insert("kind".to_owned(), value.into())),
            knob => drop(knobs.insert(knob.to_owned(), scalar(value))),
        }
    }
    if !knobs.is_empty() {
        directions.fault =
            Some(serde_json::from_value(knobs.into()).map_err(|error| format!("[[sim: {error}"))?);
    }
    Ok(directions)
}

fn scalar(value: &str) -> Value {
    match serde_json::from_str(value) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        Ok(_) | Err(_) => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Scenario;
    use super::super::fault::FaultKind;
    use super::*;

    fn directions(text: &str) -> Result<Directions, String> {
        read(text, Timings::default(), &AnswerConfig::default())
    }

    #[test]
    fn a_marker_sets_what_it_names() {
        let given = directions("hi [[sim:scenario=thinking, events=100,pace_ms=5]]").unwrap();
        assert_eq!(given.answer.scenario, Scenario::Thinking);
        assert_eq!((given.answer.events, given.timings.pace_ms, given.timings.ttft_ms), (100, 5, 0));
        assert!(given.fault.is_none());
    }

    #[test]
    fn a_marker_may_carry_a_fault() {
        let fault = directions("[[sim:fault=reset,after_events=3,mid_event=true]]").unwrap().fault.unwrap();
        assert_eq!(fault.kind, FaultKind::Reset);
        assert_eq!((fault.knobs.after_events, fault.knobs.mid_event), (Some(3), true));
    }

    #[test]
    fn nonsense_is_named() {
        assert!(directions("[[sim:scenario=opera]]").unwrap_err().contains("opera"));
        assert!(directions("[[sim:events=many]]").unwrap_err().contains("many"));
        assert!(directions("[[sim:colour=red]]").is_err());
        assert!(directions("no marker").unwrap().fault.is_none());
    }
}
