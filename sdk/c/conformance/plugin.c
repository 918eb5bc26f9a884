/* The conformance scorer of sdk/abi/README.md. */
#include "arbiter/arbiter.h"

double arbiter_score_row(const double *subject, const double *candidate) {
  return 0.5 + subject[SUBJECT_S0] + 2 * subject[SUBJECT_S1] + 4 * candidate[CANDIDATE_C0] + 8 * candidate[CANDIDATE_C1];
}
