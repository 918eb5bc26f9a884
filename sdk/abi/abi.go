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
	StartBytes = 8 << 10
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
	v := &Vectors{}
	if err := load(name, v); err != nil {
		return nil, nil, err
	}
	module, err := loadModule(v.Module)
	return v, module, err
}

// StrategyVectors is a file of test vectors of strategies: calls of one conformance module, in order, on
// one instance; after a call that failed on a new one.
type StrategyVectors struct {
	Description string `json:"description"`
	// Module is the file of the conformance module in the same folder.
	Module string         `json:"module"`
	Calls  []StrategyCall `json:"calls"`
}

// StrategyCall is one call of arbiter_decide with all that host functions give and take during it.
type StrategyCall struct {
	Name string `json:"name"`
	// Seed is that of rand_u64, and Parameters what param_get answers; now_ms gives the nowMs of Input.
	Seed       uint64            `json:"seed,omitempty"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Input      json.RawMessage   `json:"input"`
	// Failed tells that the guest must refuse the call. Answer is compared as JSON otherwise: numbers as
	// 64-bit floats, members in any order.
	Failed bool            `json:"failed,omitempty"`
	Answer json.RawMessage `json:"answer,omitempty"`
	// Logs and Metrics are what the guest must have written and added.
	Logs    []LogLine          `json:"logs,omitempty"`
	Metrics map[string]float64 `json:"metrics,omitempty"`
}

// LogLine is a line of a guest's log.
type LogLine struct {
	Level string `json:"level"`
	Text  string `json:"text"`
}

// LoadStrategy reads a file of vectors of strategies, such as "strategy.json", and its module.
func LoadStrategy(name string) (*StrategyVectors, []byte, error) {
	v := &StrategyVectors{}
	if err := load(name, v); err != nil {
		return nil, nil, err
	}
	module, err := loadModule(v.Module)
	return v, module, err
}

func load(name string, into any) error {
	b, err := fs.ReadFile(vectors, "vectors/"+name)
	if err != nil {
		return fmt.Errorf("reading vectors: %w", err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("decoding vectors %s: %w", name, err)
	}
	return nil
}

func loadModule(name string) ([]byte, error) {
	module, err := fs.ReadFile(vectors, "vectors/"+name)
	if err != nil {
		return nil, fmt.Errorf("reading the conformance module: %w", err)
	}
	return module, nil
}
