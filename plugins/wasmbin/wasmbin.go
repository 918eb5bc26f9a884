// Package wasmbin reads, checks, writes and meters WebAssembly binaries.
//
// Decode gives the outline of a module, Check refuses what admission does not allow, Inject adds the
// fuel counter that bounds every guest call, and Builder writes modules from scratch for the model
// compiler. The format is that of the WebAssembly Core Specification 2.0, chapter 5.
//
// The package does not validate types. A module must have been validated by the engine that will run
// it before Inject sees it: a body that names the fuel global before that global exists is invalid
// then, and would be valid afterwards.
package wasmbin

import (
	"fmt"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// FuelGlobal is the export name of the mutable i64 global that holds the remaining fuel. The host
// sets it before each call; a call that needs more traps and leaves it negative.
const FuelGlobal = "arbiter_fuel"

// The value types as they are encoded.
const (
	I32  byte = 0x7f
	I64  byte = 0x7e
	F32  byte = 0x7d
	F64  byte = 0x7c
	V128 byte = 0x7b
)

// PageBytes is the size of one page of linear memory.
const PageBytes = 65536

// The section ids.
const (
	sectionCustom    = 0
	sectionType      = 1
	sectionImport    = 2
	sectionFunction  = 3
	sectionTable     = 4
	sectionMemory    = 5
	sectionGlobal    = 6
	sectionExport    = 7
	sectionStart     = 8
	sectionElement   = 9
	sectionCode      = 10
	sectionData      = 11
	sectionDataCount = 12
)

// The kinds of imports and exports.
const (
	KindFunction byte = 0
	KindTable    byte = 1
	KindMemory   byte = 2
	KindGlobal   byte = 3
)

var header = [8]byte{0, 'a', 's', 'm', 1, 0, 0, 0}

// refuse makes the error of a broken rule: where it broke and what to do about it.
func refuse(rule, where, detail string, args ...any) *nba.Error {
	text := fmt.Sprintf("rule %s: %s: %s", rule, where, fmt.Sprintf(detail, args...))
	return &nba.Error{Code: nba.CodePluginRefused, Message: text,
		Details: []nba.Detail{{Pointer: "/" + rule, Code: nba.CodePluginRefused, Detail: text}}}
}

// functionName is how messages name a function: its index in the function index space.
func functionName(index int) string { return fmt.Sprintf("function %d", index) }

// sectionName is how messages name a section.
func sectionName(id byte) string {
	names := [...]string{"custom", "type", "import", "function", "table", "memory", "global", "export",
		"start", "element", "code", "data", "data count"}
	if int(id) < len(names) {
		return fmt.Sprintf("section %d (%s)", id, names[id])
	}
	return fmt.Sprintf("section %d", id)
}
