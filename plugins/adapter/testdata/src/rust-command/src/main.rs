//! A scorer as a WASI command: JSON on standard input, JSON on standard output.
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Request {
    subject: Subject,
    candidates: Vec<Candidate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
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

fn main() {
    let request: Request = serde_json::from_reader(std::io::stdin()).expect("a request");
    let bonus = if request.subject.plan.as_deref() == Some("P20") { 0.5 } else { 0.0 };
    let score = |c: &Candidate| match (request.subject.tenure, c.value) {
        (Some(tenure), Some(value)) => Some(bonus + tenure / 1000.0 + value / 10000.0),
        _ => None,
    };
    let scores = request.candidates.iter().map(score).collect();
    serde_json::to_writer(std::io::stdout(), &Reply { scores }).expect("a reply");
}
