//! Guest SDK for Rust: scorers and strategies of plugin contract version 1 (`sdk/abi/README.md`).
//!
//! A strategy gives its function to [`strategy!`]; module `strategy` holds what it is told and answers.
//! A scorer is a `cdylib` for `wasm32-unknown-unknown` that gives its score function to [`scorer!`].
//! `arbiter plugin build` generates `features.rs` from `plugin.yaml`: the number of features and rows,
//! and the position of every feature by name.
//!
//! ```ignore
//! mod features;
//! use features::*;
//!
//! arbiter_plugin::scorer!(SUBJECT_FEATURES, CANDIDATE_FEATURES, MAX_ROWS, score);
//!
//! fn score(subject: &[f64; SUBJECT_FEATURES], candidate: &[f64; CANDIDATE_FEATURES]) -> f64 {
//!     arbiter_plugin::sigmoid(0.02 * subject[SUBJECT_TENURE] - 1.5)
//! }
//! ```
//!
//! The module has one caller at a time. A `static` would survive from one customer to the next: do not
//! use any that can change.

pub mod host;
#[cfg(feature = "strategy")]
pub mod strategy;

/// What a scorer returns when it has nothing to say: the action keeps its starting propensity.
pub const ABSTAIN: f64 = f64::NAN;

/// What `arbiter_reserve` returns for a geometry that is not served.
#[doc(hidden)]
pub const REFUSED: i64 = -1;

/// Tells whether a feature is missing. Missing values are NaN.
#[inline]
pub fn missing(feature: f64) -> bool {
    feature.is_nan()
}

/// From a log-odds to a probability: 1 / (1 + exp(-x)).
#[inline]
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The memory of the calls. It is aligned as the contract asks for.
#[doc(hidden)]
#[repr(C, align(16))]
pub struct Area<const N: usize>(pub [f64; N]);

/// The number of floats of the input area, with the subject's part rounded up to 16 bytes.
#[doc(hidden)]
pub const fn input_floats(subjects: usize, rows: usize, candidates: usize) -> usize {
    (subjects + 1) / 2 * 2 + rows * candidates
}

/// Exports a scorer: `scorer!(subject features, candidate features, most rows, function)`.
///
/// The function is `fn(&[f64; SUBJECTS], &[f64; CANDIDATES]) -> f64`: it scores one candidate action of
/// one subject, with the features in the order of `plugin.yaml` and NaN for missing ones. It returns a
/// probability between 0 and 1 (with `output: value` any number), or [`ABSTAIN`]. Equal input must give
/// an equal result; a panic costs the call.
#[macro_export]
macro_rules! scorer {
    ($subjects:expr, $candidates:expr, $rows:expr, $score:path) => {
        static mut ARBITER_INPUT: $crate::Area<{ $crate::input_floats($subjects, $rows, $candidates) + 1 }> =
            $crate::Area([0.0; $crate::input_floats($subjects, $rows, $candidates) + 1]);
        static mut ARBITER_OUTPUT: $crate::Area<{ $rows }> = $crate::Area([0.0; $rows]);

        fn arbiter_serves(subjects: u32, rows: u32, candidates: u32) -> bool {
            subjects as usize == $subjects && candidates as usize == $candidates && rows as usize <= $rows
        }

        /// The marker of contract version 1. It is looked for and never called.
        #[no_mangle]
        pub extern "C" fn arbiter_abi_v1() {}

        /// Where the host writes a call of this geometry.
        #[no_mangle]
        pub extern "C" fn arbiter_reserve(subjects: u32, rows: u32, candidates: u32) -> i64 {
            if !arbiter_serves(subjects, rows, candidates) {
                return $crate::REFUSED;
            }
            let (input, output) = unsafe { (core::ptr::addr_of!(ARBITER_INPUT), core::ptr::addr_of!(ARBITER_OUTPUT)) };
            (input as usize as i64) << 32 | output as usize as i64
        }

        /// Scores rows candidates; 0 is success.
        ///
        /// # Safety
        /// The areas are those of the last arbiter_reserve.
        #[no_mangle]
        pub unsafe extern "C" fn arbiter_score(
            subject: *const [f64; $subjects],
            subjects: u32,
            candidate: *const [f64; $candidates],
            rows: u32,
            candidates: u32,
            out: *mut f64,
        ) -> i32 {
            if !arbiter_serves(subjects, rows, candidates) {
                return 1;
            }
            for row in 0..rows as usize {
                *out.add(row) = $score(&*subject, &*candidate.add(row));
            }
            0
        }
    };
}
