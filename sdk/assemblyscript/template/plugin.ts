// The score of one candidate action for one subject. plugin.yaml lists the features.
import { ABSTAIN, Features, missing, sigmoid } from "./arbiter/features";
import { CANDIDATE_VALUE, SUBJECT_TENURE } from "./features";

export function score(subject: Features, candidate: Features): f64 {
  const tenure = subject[SUBJECT_TENURE];
  if (missing(tenure)) return ABSTAIN;
  return sigmoid(0.03 * tenure - 0.01 * candidate[CANDIDATE_VALUE] - 1.0);
}
