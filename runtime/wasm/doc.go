// Package wasm is the sandbox in which operator-supplied WebAssembly runs.
//
// A Sandbox validates and compiles modules. Each loaded module version is a Pool: a wazero Runtime of
// its own (limits are per Runtime), the compiled code, and a bounded number of Instances that are
// ready to be called. One Instance serves one goroutine at a time. The host writes features straight
// into an Instance's linear memory, grants it fuel and calls it; a call that traps or runs out of fuel
// costs the Instance, which is replaced in the background, because a guest that trapped may give
// silently wrong answers afterwards.
//
// Guests are bounded by fuel, not by the clock: modules must carry the fuel counter that admission
// injects (the exported mutable i64 global FuelGlobal). A wall-clock deadline is deliberately not
// used, see docs/RATIONALE.md. One guest call is kept so short, by granting it at most
// Config.MaxCallFuel, that it cannot stretch a garbage collection pause noticeably.
//
// A Pool is reference counted: who may still call into it holds a reference, and the last Release
// closes the instances, the compiled module (exactly once) and the Runtime, in this order, in a
// goroutine that Sandbox.Close waits for.
//
// The package knows the scorer contract (sdk/abi) and nothing of manifests, recipes or consent.
package wasm
