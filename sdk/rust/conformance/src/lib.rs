//! The conformance scorer of `sdk/abi/README.md`.
mod features;

use features::*;

arbiter_plugin::scorer!(SUBJECT_FEATURES, CANDIDATE_FEATURES, MAX_ROWS, score);

fn score(subject: &[f64; SUBJECT_FEATURES], candidate: &[f64; CANDIDATE_FEATURES]) -> f64 {
    0.5 + subject[SUBJECT_S0] + 2.0 * subject[SUBJECT_S1] + 4.0 * candidate[CANDIDATE_C0] + 8.0 * candidate[CANDIDATE_C1]
}
