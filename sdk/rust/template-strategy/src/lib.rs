//! The strategy: which of the candidates to go on with, and how. plugin.yaml says what it is told.
use arbiter_plugin::host;
use arbiter_plugin::strategy::{Answer, Input, Pick};
use std::num::ParseFloatError;

arbiter_plugin::strategy!(decide);

/// Puts one issue forward for customers who are new: the parameters issue and boost say which and how much.
fn decide(input: &Input) -> Result<Answer, ParseFloatError> {
    let issue = host::param("issue").unwrap_or_default();
    let boost: f64 = host::param("boost").unwrap_or_else(|| "1".into()).parse()?;
    let tenure = input.number("tenure");
    if tenure.is_none() {
        host::log(host::Level::Debug, "a customer without tenure");
    }
    let mut answer = Answer { by_priority: true, ..Answer::default() };
    for (i, candidate) in input.candidates.iter().enumerate() {
        let mut pick = Pick::of(i);
        if tenure.map_or(false, |months| months < 12.0) && candidate.issue == issue {
            pick.weight = Some(boost);
        }
        answer.picks.push(pick);
    }
    Ok(answer)
}
