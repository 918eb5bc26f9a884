//! A scorer as an Extism plugin.
use extism_pdk::*;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Request {
    subject: Subject,
    candidates: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Subject {
    tenure: Option<f64>,
    plan: Option<String>,
}

#[derive(Deserialize)]
struct Candidate {
    value: Option<f64>,
}

#[derive(Serialize)]
struct Reply {
    scores: Vec<Option<f64>>,
}

#[plugin_fn]
pub fn score(Json(request): Json<Request>) -> FnResult<Json<Reply>> {
    let bonus = if request.subject.plan.as_deref() == Some("P20") { 0.5 } else { 0.0 };
    let score = |c: &Candidate| match (request.subject.tenure, c.value) {
        (Some(tenure), Some(value)) => Some(bonus + tenure / 1000.0 + value / 10000.0),
        _ => None,
    };
    Ok(Json(Reply { scores: request.candidates.iter().map(score).collect() }))
}

/// Counts its calls in a variable, which a plugin must not do.
#[plugin_fn]
pub fn remember(_: String) -> FnResult<String> {
    let n: i64 = var::get("calls")?.unwrap_or(0);
    var::set("calls", n + 1)?;
    Ok(format!("{{\"scores\":[{}]}}", n))
}

/// Fails.
#[plugin_fn]
pub fn fail(_: String) -> FnResult<String> {
    Err(WithReturnCode::new(Error::msg("a text that nobody should see"), 3))
}

/// Calls the network.
#[plugin_fn]
pub fn fetch(_: String) -> FnResult<String> {
    let reply = http::request::<()>(&HttpRequest::new("http://127.0.0.1/"), None)?;
    Ok(String::from_utf8(reply.body())?)
}

/// Gives back what it was given.
#[plugin_fn]
pub fn echo(text: String) -> FnResult<String> {
    Ok(text)
}

#[derive(Deserialize)]
struct Decision {
    candidates: Vec<Proposed>,
}

#[derive(Deserialize)]
struct Proposed {
    value: f64,
}

#[derive(Serialize)]
struct Answer {
    picks: Vec<Pick>,
}

#[derive(Serialize)]
struct Pick {
    candidate: usize,
}

/// A strategy: the dearest candidates first, and none that is worth nothing.
#[plugin_fn]
pub fn decide(Json(decision): Json<Decision>) -> FnResult<Json<Answer>> {
    let value = |i: &usize| decision.candidates[*i].value;
    let mut order: Vec<usize> = (0..decision.candidates.len()).filter(|i| value(i) > 0.0).collect();
    order.sort_by(|a, b| value(b).total_cmp(&value(a)));
    Ok(Json(Answer { picks: order.into_iter().map(|candidate| Pick { candidate }).collect() }))
}
