//! The conformance strategy of `sdk/abi/README.md`.
use arbiter_plugin::host;
use arbiter_plugin::strategy::{Answer, Input, Pick};

arbiter_plugin::strategy!(decide);

fn decide(input: &Input) -> Result<Answer, ()> {
    if input.channel == "refuse" {
        return Err(());
    }
    let least: f64 = host::param("minPropensity").and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let plan = input.text("plan").unwrap_or("-");
    let mut answer = Answer { by_priority: input.direction == "outbound", ..Answer::default() };
    for (i, candidate) in input.candidates.iter().enumerate() {
        if candidate.propensity < least {
            continue;
        }
        let mut pick = Pick::of(i);
        pick.content.insert("headline".into(), format!("{} / {}", candidate.action, plan));
        if input.flag("vip") == Some(true) {
            pick.weight = Some(2.0);
        }
        if let Some(score) = input.features.get("score") {
            pick.weight = Some(*score);
        }
        pick.treatment = candidate.treatments.first().and_then(|names| names.get(1)).cloned();
        if input.context("large").is_some() {
            pick.content.insert("filler".into(), "x".repeat(1000));
        }
        if input.context("host").is_some() {
            pick.content.insert("draw".into(), format!("{} at {}", host::random() % 1000, host::now_ms()));
        }
        answer.picks.push(pick);
    }
    if input.context("order") == Some("value") {
        answer.picks.sort_by(|a, b| {
            let value = |p: &Pick| input.candidates[p.candidate].value;
            value(b).total_cmp(&value(a))
        });
    }
    host::log(host::Level::Info, &format!("picked {} for {}", answer.picks.len(), plan));
    host::add_metric("conformance_picks", answer.picks.len() as f64);
    Ok(answer)
}
