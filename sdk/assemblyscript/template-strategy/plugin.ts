// The strategy: which of the candidates to go on with, and how. plugin.yaml says what it is told.
import { Level, log, param } from "./arbiter/host";
import { Answer, Input, Pick } from "./arbiter/types";

// It puts one issue forward for customers who are new: the parameters issue and boost say which and how much.
export function decide(input: Input): Answer | null {
  const issue = param("issue");
  const given = param("boost");
  const boost = given === null ? 1.0 : parseFloat(given);
  if (isNaN(boost)) return null;

  const tenure = input.subject.number("tenure"); // NaN when it is not known
  const answer = new Answer();
  answer.byPriority = true;
  for (let i = 0; i < input.candidates.length; i++) {
    const pick = new Pick(i);
    if (tenure < 12 && issue !== null && input.candidates[i].issue == issue) pick.weight = boost;
    answer.picks.push(pick);
  }
  if (isNaN(tenure)) log(Level.Debug, "a customer without tenure");
  return answer;
}
