// What a plugin needs of the SDK: the features of one row, and a few functions over them.

/**
 * The features of a subject or of a candidate, in the order of plugin.yaml: features[SUBJECT_TENURE].
 * They lie in the memory that the host wrote; the position is not checked against their number.
 */
@unmanaged
export class Features {
  /** The feature at a position; NaN when it is missing. */
  @operator("[]")
  at(position: i32): f64 {
    return load<f64>(changetype<usize>(this) + ((<usize>position) << 3));
  }
}

/** What a scorer returns when it has nothing to say: the action keeps its starting propensity. */
export const ABSTAIN: f64 = NaN;

/** Tells whether a feature is missing. */
// @ts-ignore: decorator
@inline
export function missing(feature: f64): bool {
  return feature != feature;
}

/** From a log-odds to a probability: 1 / (1 + exp(-x)). */
// @ts-ignore: decorator
@inline
export function sigmoid(x: f64): f64 {
  return 1.0 / (1.0 + Math.exp(-x));
}
