// Package command holds the operations that the replicated state machines apply, and their bytes.
//
// A log entry is one envelope: a format number, the time at which the proposer made it, and a list
// of operations, each with its kind and version. Kinds are numbered once and never reused.
// docs/format/command.md specifies the bytes. Decoders take any bytes and answer with an error or
// with a consistent operation; what they return shares the memory of the entry.
package command
