// The host functions. Each needs its capability in plugin.yaml (log, now_ms, rand_u64, param_get,
// metric_add); a module that uses one without it is refused.

// @ts-ignore: decorator
@external("arbiter_v1", "log")
declare function hostLog(level: u32, text: usize, length: u32): void;
// @ts-ignore: decorator
@external("arbiter_v1", "now_ms")
declare function hostNow(): i64;
// @ts-ignore: decorator
@external("arbiter_v1", "rand_u64")
declare function hostRandom(): u64;
// @ts-ignore: decorator
@external("arbiter_v1", "param_get")
declare function hostParam(key: usize, length: u32, out: usize, capacity: u32): i32;
// @ts-ignore: decorator
@external("arbiter_v1", "metric_add")
declare function hostMetric(name: usize, length: u32, value: f64): void;

/** How important a line of the log is. */
export enum Level { Debug, Info, Warn, Error }

/**
 * Writes a line to the plugin's log. The host takes a few lines of each call, cuts long ones, and takes
 * out what it handed over about the customer.
 */
export function log(level: Level, text: string): void {
  const bytes = Uint8Array.wrap(String.UTF8.encode(text));
  hostLog(level, bytes.dataStart, bytes.length);
}

/** The moment of the decision in milliseconds since the Unix epoch. It stands still within one. */
export function now(): i64 { return hostNow(); }

/** The next number by chance. The same decision draws the same numbers when it is replayed. */
export function random(): u64 { return hostRandom(); }

/** A parameter of the plugin: what the catalog says where it binds the plugin, or the manifest; or null. */
export function param(key: string): string | null {
  const name = Uint8Array.wrap(String.UTF8.encode(key));
  const length = hostParam(name.dataStart, name.length, 0, 0);
  if (length < 0) return null;
  const value = new Uint8Array(length);
  hostParam(name.dataStart, name.length, value.dataStart, length);
  return String.UTF8.decodeUnsafe(value.dataStart, length);
}

/**
 * Adds to a counter of the plugin, whose name is of lower-case letters, digits and underscores. The value
 * is finite and not negative.
 */
export function addMetric(name: string, value: f64): void {
  const bytes = Uint8Array.wrap(String.UTF8.encode(name));
  hostMetric(bytes.dataStart, bytes.length, value);
}
