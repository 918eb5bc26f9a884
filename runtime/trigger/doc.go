// Package trigger is what event strategies do with events: windows, aggregates, thresholds that fire once
// for each crossing, and absences.
//
// It is part of the replicated state machine. Filters, values and keys are evaluated where an event is
// proposed; what arrives here are integers: times in milliseconds since 1970, and values in millionths. The
// state of a subject is a few bytes for each strategy (docs/format/windows.md). Nothing here reads a clock,
// computes with floats, or does I/O.
//
// What counts is the time an event happened at, and not when it arrives. An event that arrives out of order
// is entered where it belongs; one whose window was closed, since a newer event was so much newer or the
// clock went so far, is late and changes nothing (docs/event-strategies.md has the rules).
package trigger
