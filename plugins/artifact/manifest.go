// Package artifact describes a plugin artifact: one WebAssembly binary that carries its manifest in a
// custom section, so that name, features, limits and code share one digest.
//
// Parse reads and checks the manifest, Embed writes it, Digest names the artifact. The format is
// specified in docs/format/manifest.md. What the module may contain is checked by wasmbin and by
// admission, not here.
package artifact

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// SectionName is the custom section that holds the manifest.
const SectionName = "arbiter.manifest"

// ABIVersion is the only version of the plugin contract there is; see sdk/abi.
const ABIVersion = 1

// The kinds of plugins.
const (
	KindScorer   = "scorer"
	KindStrategy = "strategy"
)

// What the number that a scorer returns means.
const (
	OutputProbability = "probability" // a propensity between 0 and 1
	OutputValue       = "value"       // any number, such as an expected amount
	OutputVerdict     = "verdict"     // 1 where an action may stay and 0 where it may not: an engagement policy
)

// EncodingJSON is the only encoding of strategies in contract version 1: UTF-8 JSON, see sdk/abi.
const EncodingJSON = "json"

// The adapters for modules that were built for other hosts; package plugins/adapter has them.
const (
	AdapterOPA         = "opa"          // a policy that OPA compiled to WebAssembly
	AdapterWASICommand = "wasi-command" // a program that reads and writes JSON
	AdapterExtism      = "extism"       // a plugin of an Extism PDK
)

// The scopes of a feature.
const (
	ScopeSubject   = "subject"   // one value per call
	ScopeCandidate = "candidate" // one value per candidate action
)

// DefaultPurpose is the purpose whose consent the features need unless the manifest names another.
const DefaultPurpose = nba.PurposeProfiling

// The limits of a manifest.
const (
	MaxManifestBytes = 1 << 20
	MaxFeatures      = 4096
	MaxGoldenRows    = 256
	MaxLevels        = 1024
	MaxBounds        = 1024
	MaxTextBytes     = 256
	MaxCapabilities  = 16
	MaxMemoryPages   = 1024
	MaxRows          = 4096
	// MaxCandidates bounds limits.maxRows of a strategy, the candidates that it is given, and
	// DefaultCandidates stands for it where it is left out.
	MaxCandidates     = 256
	DefaultCandidates = 32
	// MaxAttributes bounds the attributes of a strategy, MaxParameters and MaxParameterBytes the
	// parameters of a plugin, MaxGoldenDecisions and MaxGoldenBytes its golden decisions and each of them.
	MaxAttributes      = 256
	MaxParameters      = 64
	MaxParameterBytes  = 4 << 10
	MaxGoldenDecisions = 32
	MaxGoldenBytes     = 64 << 10
)

// Manifest tells what a plugin is, what it reads and what it may use.
type Manifest struct {
	// Name is unique among plugins: a lower-case letter, then up to 62 letters, digits and hyphens.
	Name string `json:"name"`
	// Version is a semantic version. Pushing other bytes under the same name and version is a conflict.
	Version string `json:"version"`
	// Kind is KindScorer or KindStrategy.
	Kind string `json:"kind"`
	// ABI is ABIVersion.
	ABI int `json:"abi"`
	// Purpose is the purpose whose consent the attributes need; "" means DefaultPurpose.
	Purpose string `json:"purpose,omitempty"`
	// Output is what a score means; "" means OutputProbability.
	Output string `json:"output,omitempty"`
	// Features are what a scorer reads, in the order in which it reads them: first those of the
	// subject, then those of the candidate.
	Features []Feature `json:"features,omitempty"`
	// FeatureHash is FeatureHash(Features); a difference means that features were edited by hand.
	FeatureHash string `json:"featureHash,omitempty"`
	Limits      Limits `json:"limits"`
	// Capabilities are the host functions of module arbiter_v1 that the plugin imports.
	Capabilities []string `json:"capabilities,omitempty"`
	// Attributes are what a strategy is told of the subject besides its features, as they are stored.
	Attributes []string `json:"attributes,omitempty"`
	// Encoding is that of a strategy's input and answer; "" means EncodingJSON.
	Encoding string `json:"encoding,omitempty"`
	// Parameters are what param_get answers unless the catalog says otherwise where it binds the plugin.
	Parameters map[string]string `json:"parameters,omitempty"`
	// Decisions are the golden decisions of a strategy, which are replayed at admission.
	Decisions []GoldenDecision `json:"decisions,omitempty"`
	// Golden rows are replayed at admission.
	Golden []GoldenRow `json:"golden,omitempty"`
	Source *Source     `json:"source,omitempty"`
	// Adapter is set when the module does not speak the contract of sdk/abi but that of another host.
	Adapter *Adapter `json:"adapter,omitempty"`
}

// Adapter tells how the host talks to a module that was built for another one.
type Adapter struct {
	// Kind is one of the Adapter constants.
	Kind string `json:"kind"`
	// Entrypoint is what is evaluated or called: of AdapterOPA the path of a rule such as
	// "telco/eligible", "" where the policy has only one; of AdapterExtism an exported function, ""
	// for "score".
	Entrypoint string `json:"entrypoint,omitempty"`
}

// Limits are what a plugin asks for. Admission refuses what is beyond the host's policy.
type Limits struct {
	// MemoryPages is the largest linear memory, in pages of 64 KiB.
	MemoryPages int `json:"memoryPages"`
	// FuelBase and FuelPerRow give the budget of one call: FuelBase + rows × FuelPerRow, in the units
	// of wasmbin.Inject.
	FuelBase   int64 `json:"fuelBase"`
	FuelPerRow int64 `json:"fuelPerRow"`
	// MaxRows is the largest number of candidates in one call.
	MaxRows int `json:"maxRows"`
}

// GoldenDecision is an input that a strategy must answer as told. The input tells the moment that now_ms
// gives, in nowMs; Seed is that of rand_u64, and Parameters, unless nil, stand for those of the manifest.
type GoldenDecision struct {
	Name       string            `json:"name"`
	Seed       uint64            `json:"seed,omitempty"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Input      json.RawMessage   `json:"input"`
	Output     json.RawMessage   `json:"output"`
}

// Source tells where a compiled module came from, for people.
type Source struct {
	// Format is the format of the model file, such as "xgboost-json", Library what wrote it.
	Format  string `json:"format"`
	Library string `json:"library,omitempty"`
	// Digest is the sha256 of the model file.
	Digest string `json:"digest,omitempty"`
	// Objective, Trees, MaxDepth and Layout describe a tree ensemble.
	Objective string   `json:"objective,omitempty"`
	Trees     int      `json:"trees,omitempty"`
	MaxDepth  int      `json:"maxDepth,omitempty"`
	Nodes     int      `json:"nodes,omitempty"`
	Layouts   []string `json:"layouts,omitempty"`
	// Class is the one of Classes whose output is the score.
	Class   string   `json:"class,omitempty"`
	Classes []string `json:"classes,omitempty"`
	// Order is the place in Features of each feature of the model, in the model's own order; omitted
	// when the orders are the same.
	Order []int `json:"order,omitempty"`
}

// SubjectFeatures is the number of leading features that belong to the subject.
func (m *Manifest) SubjectFeatures() int {
	for i := range m.Features {
		if m.Features[i].Scope == ScopeCandidate {
			return i
		}
	}
	return len(m.Features)
}

// CandidateFeatures is the number of features that each candidate has of its own. When it is 0 all
// candidates of a subject have the same score.
func (m *Manifest) CandidateFeatures() int { return len(m.Features) - m.SubjectFeatures() }

// Fuel is the budget of one call that scores rows rows.
func (m *Manifest) Fuel(rows int) int64 { return m.Limits.FuelBase + int64(rows)*m.Limits.FuelPerRow }

// Parse reads the manifest of module, fills in what is omitted and checks it. Every mistake is an
// *nba.Error with CodePluginRefused; all mistakes of the manifest come at once.
func Parse(module []byte) (*Manifest, error) {
	content, ok, err := wasmbin.CustomSection(module, SectionName)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, nba.Errorf(nba.CodePluginRefused,
			"rule manifest: the module has no custom section %q; compile the model with arbiter model compile, or add the section", SectionName)
	}
	return ParseJSON(content)
}

// ParseJSON reads a manifest that stands alone, as Parse does.
func ParseJSON(content []byte) (*Manifest, error) {
	if len(content) > MaxManifestBytes {
		return nil, nba.Errorf(nba.CodePluginRefused, "rule manifest: the manifest is larger than %d bytes; embed fewer golden rows", MaxManifestBytes)
	}
	m := &Manifest{}
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return nil, jsonError(content, dec, err)
	}
	if dec.More() {
		return nil, nba.Errorf(nba.CodePluginRefused, "rule manifest: the manifest holds more than one JSON value; keep one object")
	}
	m.normalize()
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// normalize fills in what is omitted.
func (m *Manifest) normalize() {
	if m.Purpose == "" {
		m.Purpose = DefaultPurpose
	}
	if m.Output == "" && m.Kind == KindScorer {
		m.Output = OutputProbability
	}
	if m.Kind == KindStrategy {
		m.Encoding = cmp.Or(m.Encoding, EncodingJSON)
		m.Limits.MaxRows = cmp.Or(m.Limits.MaxRows, DefaultCandidates)
	}
	for i := range m.Features {
		if m.Features[i].Scope == "" {
			m.Features[i].Scope = ScopeSubject
		}
	}
}

// Embed returns module with m as its manifest, in place of any manifest it had. It fills in what is
// omitted in m, the feature hash too, and checks the result; m itself is not changed.
func Embed(module []byte, m *Manifest) ([]byte, error) {
	full := m.complete()
	if err := full.Validate(); err != nil {
		return nil, err
	}
	content, err := json.Marshal(&full)
	if err != nil {
		return nil, fmt.Errorf("encoding the manifest: %w", err)
	}
	if len(content) > MaxManifestBytes {
		return nil, nba.Errorf(nba.CodePluginRefused, "rule manifest: the manifest would be larger than %d bytes; embed fewer golden rows", MaxManifestBytes)
	}
	bare, err := wasmbin.WithoutCustomSection(module, SectionName)
	if err != nil {
		return nil, err
	}
	return wasmbin.AppendCustomSection(bare, SectionName, content), nil
}

// complete is m with what is omitted filled in.
func (m *Manifest) complete() Manifest {
	full := *m
	full.Features = append([]Feature(nil), m.Features...)
	full.normalize()
	if len(full.Features) > 0 {
		full.FeatureHash = FeatureHash(full.Features)
	}
	return full
}

// Check is Validate of what Embed would embed.
func (m *Manifest) Check() error {
	full := m.complete()
	return full.Validate()
}

// Digest names an artifact by content: "sha256:" and 64 hex digits.
func Digest(module []byte) string {
	sum := sha256.Sum256(module)
	return "sha256:" + hex.EncodeToString(sum[:])
}
