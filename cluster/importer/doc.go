// Package importer turns files of subjects, CSV or NDJSON, into batches of subject writes.
//
// Run reads a body as a stream, checks every line, hands the good ones to a Sink in batches and
// reports each bad one with its line, column and reason; a bad line never stops the good ones.
// While one batch is being committed the next is read. Read in this order: importer.go (Run),
// mapping.go (which column becomes which attribute, by which rules), binding.go (a mapping tied to
// one header and one dictionary), csv.go and ndjson.go (the two readers), batch.go, committer.go.
//
// The package knows neither HTTP nor the store: the body is an io.Reader and the Sink is
// implemented above it. docs/import.md is the user's side of it.
package importer
