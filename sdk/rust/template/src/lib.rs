//! The score of one candidate action for one subject. plugin.yaml lists the features.
mod features;

use arbiter_plugin::{missing, sigmoid, ABSTAIN};
use features::*;

arbiter_plugin::scorer!(SUBJECT_FEATURES, CANDIDATE_FEATURES, MAX_ROWS, score);

fn score(subject: &[f64; SUBJECT_FEATURES], candidate: &[f64; CANDIDATE_FEATURES]) -> f64 {
    let tenure = subject[SUBJECT_TENURE];
    if missing(tenure) {
        return ABSTAIN;
    }
    sigmoid(0.03 * tenure - 0.01 * candidate[CANDIDATE_VALUE] - 1.0)
}
