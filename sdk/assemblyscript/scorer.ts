// Guest SDK for AssemblyScript: a scorer of plugin contract version 1 (sdk/abi/README.md). This file is
// the entry of the compilation; the plugin is plugin.ts beside it, which exports
//
//   export function score(subject: Features, candidate: Features): f64
//
// "arbiter plugin build" generates features.ts from plugin.yaml: the number of features and rows, and
// the position of every feature by name.
//
// The module has one caller at a time. A global variable would survive from one customer to the next:
// do not use any that can change.
import { CANDIDATE_FEATURES, MAX_ROWS, SUBJECT_FEATURES } from "../features";
import { score } from "../plugin";
import { Features } from "./features";

const input: usize = memory.data(((SUBJECT_FEATURES * 8 + 15) & ~15) + <i32>MAX_ROWS * CANDIDATE_FEATURES * 8 + 16, 16);
const output: usize = memory.data(<i32>MAX_ROWS * 8, 16);

// @ts-ignore: decorator
@inline
function serves(subjects: u32, rows: u32, candidates: u32): bool {
  return subjects == SUBJECT_FEATURES && candidates == CANDIDATE_FEATURES && rows <= MAX_ROWS;
}

/** The marker of contract version 1. It is looked for and never called. */
export function arbiter_abi_v1(): void {}

/** Where the host writes a call of this geometry; -1 when it is not served. */
export function arbiter_reserve(subjects: u32, rows: u32, candidates: u32): i64 {
  if (!serves(subjects, rows, candidates)) return -1;
  return ((<i64>input) << 32) | <i64>output;
}

/** Scores rows candidates; 0 is success. */
export function arbiter_score(subject: usize, subjects: u32, candidate: usize, rows: u32, candidates: u32, out: usize): i32 {
  if (!serves(subjects, rows, candidates)) return 1;
  for (let row: u32 = 0; row < rows; row++) {
    store<f64>(out + ((<usize>row) << 3), score(changetype<Features>(subject), changetype<Features>(candidate)));
    candidate += CANDIDATE_FEATURES * 8;
  }
  return 0;
}
