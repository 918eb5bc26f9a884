// Package record encodes one subject: its version, its consents and its typed attributes, in a
// format that gives one attribute by id without decoding the others and without allocating.
//
// A record is written once by Append or AppendMerge and read through a Record, which implements
// nba.Subject over the bytes it was given. docs/format/subject-record.md specifies the bytes,
// docs/benchmarks/subject-record.md compares the format with those that were not taken.
package record
