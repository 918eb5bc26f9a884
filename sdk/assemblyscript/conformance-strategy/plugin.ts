// The conformance strategy of sdk/abi/README.md.
import { addMetric, Level, log, now, param, random } from "./arbiter/host";
import { Answer, Input, Pick } from "./arbiter/types";

export function decide(input: Input): Answer | null {
  if (input.channel == "refuse") return null;
  const given = param("minPropensity");
  const least = given === null ? 0.0 : parseFloat(given);
  const named = input.subject.text("plan");
  const plan = named === null ? "-" : named;
  const answer = new Answer();
  answer.byPriority = input.direction == "outbound";
  for (let i = 0; i < input.candidates.length; i++) {
    const c = input.candidates[i];
    if (c.propensity < least) continue;
    const pick = new Pick(i);
    pick.say("headline", c.action + " / " + plan);
    if (input.subject.flag("vip")) pick.weight = 2;
    const score = input.features.number("score");
    if (!isNaN(score)) pick.weight = score;
    if (c.treatments.length > 0 && c.treatments[0].length > 1) pick.treatment = c.treatments[0][1];
    if (input.context("large") !== null) pick.say("filler", "x".repeat(1000));
    if (input.context("host") !== null) pick.say("draw", (random() % 1000).toString() + " at " + now().toString());
    answer.picks.push(pick);
  }
  const order = input.context("order");
  if (order !== null && order == "value") {
    for (let i = 1; i < answer.picks.length; i++) {
      for (let j = i; j > 0 && input.candidates[answer.picks[j].candidate].value > input.candidates[answer.picks[j - 1].candidate].value; j--) {
        const p = answer.picks[j];
        answer.picks[j] = answer.picks[j - 1];
        answer.picks[j - 1] = p;
      }
    }
  }
  log(Level.Info, "picked " + answer.picks.length.toString() + " for " + plan);
  addMetric("conformance_picks", answer.picks.length);
  return answer;
}
