// The conformance scorer of sdk/abi/README.md.
import { Features } from "./arbiter/features";
import { CANDIDATE_C0, CANDIDATE_C1, SUBJECT_S0, SUBJECT_S1 } from "./features";

export function score(subject: Features, candidate: Features): f64 {
  return 0.5 + subject[SUBJECT_S0] + 2 * subject[SUBJECT_S1] + 4 * candidate[CANDIDATE_C0] + 8 * candidate[CANDIDATE_C1];
}
