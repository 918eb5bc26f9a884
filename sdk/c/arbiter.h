/* Guest SDK for C: a scorer of plugin contract version 1 (sdk/abi/README.md), in one header.
 *
 * A plugin is one C file that includes this header and defines arbiter_score_row. The header exports
 * what the host calls and keeps the memory of the calls. "arbiter plugin build" generates
 * arbiter_features.h from plugin.yaml: the number of features and rows, and the position of every
 * feature by name.
 *
 *   #include "arbiter.h"
 *
 *   double arbiter_score_row(const double *subject, const double *candidate) {
 *     if (arbiter_missing(subject[SUBJECT_TENURE])) return ARBITER_ABSTAIN;
 *     return arbiter_sigmoid(0.02 * subject[SUBJECT_TENURE] - 1.5);
 *   }
 *
 * The module has no state of its own and one caller at a time. A static variable would survive from
 * one customer to the next: do not use any that is not const. */
#ifndef ARBITER_H
#define ARBITER_H

#include <math.h>

#include "arbiter_features.h"

/* What a scorer returns when it has nothing to say: the action keeps its starting propensity. */
#define ARBITER_ABSTAIN (__builtin_nan(""))

/* arbiter_score_row scores one candidate action of one subject. subject has
 * ARBITER_SUBJECT_FEATURES values and candidate ARBITER_CANDIDATE_FEATURES, in the order of
 * plugin.yaml; a missing one is NaN. The result is a probability between 0 and 1 (with output: value
 * any number), or ARBITER_ABSTAIN. Equal input must give an equal result. */
double arbiter_score_row(const double *subject, const double *candidate);

/* arbiter_missing tells whether a feature is missing. */
static inline int arbiter_missing(double feature) { return feature != feature; }

/* arbiter_sigmoid is 1 / (1 + exp(-x)), from a log-odds to a probability. */
static inline double arbiter_sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

#define ARBITER_EXPORT(name) __attribute__((export_name(name), used))
#define ARBITER_ALIGNED_ ((8 * ARBITER_SUBJECT_FEATURES + 15) / 16 * 2)

static double arbiter_input_[ARBITER_ALIGNED_ + ARBITER_MAX_ROWS * ARBITER_CANDIDATE_FEATURES + 2]
    __attribute__((aligned(16)));
static double arbiter_output_[ARBITER_MAX_ROWS];

static int arbiter_serves_(unsigned subjects, unsigned rows, unsigned candidates) {
  return subjects == ARBITER_SUBJECT_FEATURES && candidates == ARBITER_CANDIDATE_FEATURES && rows <= ARBITER_MAX_ROWS;
}

/* The marker of contract version 1. It is looked for and never called. */
ARBITER_EXPORT("arbiter_abi_v1") void arbiter_abi_v1(void) {}

ARBITER_EXPORT("arbiter_reserve") long long arbiter_reserve(unsigned subjects, unsigned rows, unsigned candidates) {
  if (!arbiter_serves_(subjects, rows, candidates)) return -1;
  return (long long)(unsigned long)arbiter_input_ << 32 | (long long)(unsigned long)arbiter_output_;
}

ARBITER_EXPORT("arbiter_score")
int arbiter_score(const double *subject, unsigned subjects, const double *candidate, unsigned rows, unsigned candidates, double *out) {
  if (!arbiter_serves_(subjects, rows, candidates)) return 1;
  for (unsigned row = 0; row < rows; row++) out[row] = arbiter_score_row(subject, candidate + row * ARBITER_CANDIDATE_FEATURES);
  return 0;
}

#endif
