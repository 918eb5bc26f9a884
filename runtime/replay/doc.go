// Package replay keeps what a decision read, in few bytes, and gives it back, so that the same decision
// can be made again: bit for bit, or as another catalog would have made it.
//
// The engine notes what is read (engine.Reads). Append writes that down while the subject is still at
// hand, Open reads it. What is not in it is what the stored decision tells anyway: its id, which the
// seed is made of, its time, channel, direction, placements and catalog version.
// docs/format/replay.md describes the bytes.
package replay
