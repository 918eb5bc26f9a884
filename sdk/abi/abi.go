// Package abi holds the plugin contract, version 1: the names that host and guest agree on, and the
// test vectors that both sides run. README.md is the contract in prose.
package abi

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
)

// The exports of a scorer; the first two are those of a strategy too.
const (
	ExportMemory   = "memory"
	ExportMarker   = "arbiter_abi_v1"
	ExportReserve  = "arbiter_reserve"
	ExportScore    = "arbiter_score"
	ExportScoreRaw = "arbiter_score_raw" // optional
)

// The exports of a strategy besides ExportMemory and ExportMarker.
const (
	ExportBuffers = "arbiter_buffers"
	ExportDecide  = "arbiter_decide"
)

// The functions of ImportModule, each a capability of the manifest.
const (
	ImportLog       = "log"
	ImportNow       = "now_ms"
	ImportRandom    = "rand_u64"
	ImportParam     = "param_get"
	ImportMetricAdd = "metric_add"
)

// Sizes of the buffers of a strategy. The host asks for StartBytes each at first, and for more, up to
// MaxBytes each, when an input or an answer is larger.
const (
	StartBytes = 16 << 10
	MaxBytes   = 256 << 10
)

// ImportModule is the module name of all host functions.
const ImportModule = "arbiter_v1"

// ManifestSection is the custom section that holds the manifest.
const ManifestSection = "arbiter.manifest"

// ReserveRefused is what arbiter_reserve returns for a geometry that the guest does not serve.
const ReserveRefused int64 = -1

// Align rounds an address up to the 16 bytes at which the candidate matrix begins.
func Align(address uint32) uint32 { return (address + 15) &^ 15 }

//go:embed vectors
var vectors embed.FS

// Vectors is one file of test vectors: calls of one conformance module, in order, on one instance.
type Vectors struct {
	Description string `json:"description"`
	// Module is the file of the conformance module in the same folder.
	Module string `json:"module"`
	Calls  []Call `json:"calls"`
}

// Call is one round of arbiter_reserve and arbiter_score. A nil number is NaN: a missing value in the
// input, an abstention in the output.
type Call struct {
	Name string `json:"name"`
	// SubjectFeatures, Rows and CandidateFeatures are the geometry that is reserved.
	SubjectFeatures   int `json:"subjectFeatures"`
	Rows              int `json:"rows"`
	CandidateFeatures int `json:"candidateFeatures"`
	// Refused tells that arbiter_reserve must return ReserveRefused; nothing is scored then.
	Refused    bool         `json:"refused,omitempty"`
	Subject    []*float64   `json:"subject,omitempty"`
	Candidates [][]*float64 `json:"candidates,omitempty"`
	// Status is 0, or not 0 when the guest must refuse the call with any other status.
	Status int        `json:"status,omitempty"`
	Scores []*float64 `json:"scores,omitempty"`
}

// Load reads a file of vectors, such as "scorer.json", and its module.
func Load(name string) (*Vectors, []byte, error) {
	b, err := fs.ReadFile(vectors, "vectors/"+name)
	if err != nil {
		return nil, nil, fmt.Errorf("reading vectors: %w", err)
	}
	v := &Vectors{}
	if err := json.Unmarshal(b, v); err != nil {
		return nil, nil, fmt.Errorf("decoding vectors %s: %w", name, err)
	}
	module, err := fs.ReadFile(vectors, "vectors/"+v.Module)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the conformance module: %w", err)
	}
	return v, module, nil
}
