// Package nba is the vocabulary of next best action: the types every other package speaks in, and
// the error codes.
//
// It holds data and small pure functions, no clock, no I/O and no goroutine. Read in this order:
// subject.go (whom the decision is for), dictionary.go and value.go (what is known about them),
// decision.go (what is asked and answered), response.go (what came back), errors.go. The words are
// those of docs/GLOSSARY.md; JSON names are those of the OpenAPI contract.
package nba
