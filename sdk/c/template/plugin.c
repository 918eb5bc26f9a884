/* The score of one candidate action for one subject. plugin.yaml lists the features. */
#include "arbiter/arbiter.h"

double arbiter_score_row(const double *subject, const double *candidate) {
  double tenure = subject[SUBJECT_TENURE];
  if (arbiter_missing(tenure)) return ARBITER_ABSTAIN;
  return arbiter_sigmoid(0.03 * tenure - 0.01 * candidate[CANDIDATE_VALUE] - 1.0);
}
