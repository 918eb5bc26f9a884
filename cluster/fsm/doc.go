// Package fsm holds the replicated state machines: Data, of which each data group has one, and
// Control, of which there is one.
//
// They are the only writers of replicated state. One batch of log entries is one transaction of the
// store, with the index of the last entry in it, so a restart continues where the file ends. Nothing
// reachable from ApplyBatch reads a clock, draws chance, depends on the order of a map or touches
// anything but the transaction: every replica that applies the same entries holds the same state.
package fsm
