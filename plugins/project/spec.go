package project

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// SpecFile is the file that describes a project.
const SpecFile = "plugin.yaml"

const (
	maxSpecBytes   = 4 << 20
	defaultMaxRows = 64
	maxCases       = artifact.MaxGoldenRows
)

// Spec is what plugin.yaml says. Its cases become golden rows, which every node replays.
type Spec struct {
	// Language is one of Languages, "" for a module that was built for another host.
	Language Language
	// Manifest has features, golden rows and limits; limits without fuel are measured by Build.
	Manifest artifact.Manifest
	// Cases are the rows of plugin.yaml. Those with a score are golden rows of the manifest too.
	Cases []Case
	// module is the file that Build wraps, for a plugin with an adapter, and data the data document of a
	// policy.
	module, data string
}

// Case is a row that the plugin must score as told.
type Case struct {
	Name string
	// Features are in the order of the manifest; nil is a missing value.
	Features []*float64
	// Score is NaN when the plugin must abstain.
	Score float64
}

// document is the text of plugin.yaml.
type document struct {
	Name         string           `yaml:"name"`
	Version      string           `yaml:"version"`
	Kind         string           `yaml:"kind"`
	Language     string           `yaml:"language"`
	Purpose      string           `yaml:"purpose"`
	Output       string           `yaml:"output"`
	MaxRows      int              `yaml:"maxRows"`
	Limits       *limits          `yaml:"limits"`
	Capabilities []string         `yaml:"capabilities"`
	Features     []map[string]any `yaml:"features"`
	Cases        []testCase       `yaml:"cases"`

	Attributes []string          `yaml:"attributes"`
	Parameters map[string]string `yaml:"parameters"`

	// Of a module that was built for another host.
	Adapter    string `yaml:"adapter"`
	Entrypoint string `yaml:"entrypoint"`
	Module     string `yaml:"module"`
	Data       string `yaml:"data"`
}

type limits struct {
	MemoryPages int   `yaml:"memoryPages"`
	FuelBase    int64 `yaml:"fuelBase"`
	FuelPerRow  int64 `yaml:"fuelPerRow"`
}

type testCase struct {
	Name     string              `yaml:"name"`
	Features map[string]*float64 `yaml:"features"`
	Score    *float64            `yaml:"score"`

	// Of a strategy.
	Seed       uint64            `yaml:"seed"`
	Parameters map[string]string `yaml:"parameters"`
	Input      map[string]any    `yaml:"input"`
	Output     map[string]any    `yaml:"output"`
}

// LoadSpec reads the plugin.yaml of a folder. Mistakes are an *nba.Error with CodePluginRefused.
func LoadSpec(dir string) (*Spec, error) {
	path := filepath.Join(dir, SpecFile)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nba.Errorf(nba.CodeInvalid, "%s holds no %s: run arbiter plugin new NAME, or name the folder of a plugin", dir, SpecFile)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the project: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSpecBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return ParseSpec(content)
}

// ParseSpec reads the text of a plugin.yaml.
func ParseSpec(content []byte) (*Spec, error) { return parseSpec(content, func(*document) {}) }

// parseSpec reads a plugin.yaml as change leaves it.
func parseSpec(content []byte, change func(*document)) (*Spec, error) {
	if len(content) > maxSpecBytes {
		return nil, nba.Errorf(nba.CodeTooLarge, "%s has more than %d bytes; keep fewer cases", SpecFile, maxSpecBytes)
	}
	var doc document
	dec := yaml.NewDecoder(bytes.NewReader(content))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		return nil, nba.Errorf(nba.CodePluginRefused, "%s: %v", SpecFile, err)
	}
	change(&doc)
	var language Language
	if doc.Adapter == "" || doc.Language != "" {
		var err error
		if language, err = ParseLanguage(doc.Language); err != nil {
			return nil, err
		}
	}
	if doc.Kind == "" {
		doc.Kind = artifact.KindScorer
	}
	if doc.Kind != artifact.KindScorer && doc.Kind != artifact.KindStrategy {
		return nil, nba.Errorf(nba.CodePluginRefused, "%s: a plugin has kind: %s or kind: %s", SpecFile, artifact.KindScorer, artifact.KindStrategy)
	}
	if language != "" && doc.Adapter != "" {
		return nil, nba.Errorf(nba.CodePluginRefused, "%s: a plugin has a language or an adapter, not both", SpecFile)
	}
	s := &Spec{Language: language, module: doc.Module, data: doc.Data}
	if err := s.fill(&doc); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Spec) fill(doc *document) error {
	features, err := doc.features()
	if err != nil {
		return err
	}
	doc.fillIn()
	m := &s.Manifest
	*m = artifact.Manifest{Name: doc.Name, Version: doc.Version, Kind: doc.Kind, ABI: artifact.ABIVersion,
		Purpose: doc.Purpose, Output: doc.Output, Features: features, Capabilities: doc.Capabilities,
		Attributes: doc.Attributes, Parameters: doc.Parameters, Limits: artifact.Limits{MaxRows: doc.MaxRows}}
	if doc.Adapter != "" {
		m.Adapter = &artifact.Adapter{Kind: doc.Adapter, Entrypoint: doc.Entrypoint}
	}
	if doc.Limits != nil {
		m.Limits.MemoryPages, m.Limits.FuelBase, m.Limits.FuelPerRow = doc.Limits.MemoryPages, doc.Limits.FuelBase, doc.Limits.FuelPerRow
	}
	if len(doc.Cases) > maxCases {
		return nba.Errorf(nba.CodePluginRefused, "%s: %d cases; at most %d become golden rows", SpecFile, len(doc.Cases), maxCases)
	}
	if doc.Kind == artifact.KindStrategy {
		if m.Decisions, err = doc.decisions(); err != nil {
			return err
		}
		doc.Cases = nil
	}
	for i := range doc.Cases {
		row, err := doc.Cases[i].row(features)
		if err != nil {
			return err
		}
		s.Cases = append(s.Cases, row)
		if !math.IsNaN(row.Score) {
			m.Golden = append(m.Golden, artifact.GoldenRow{Features: row.Features, Score: row.Score})
		}
	}
	return s.check()
}

// fillIn gives what the document leaves out.
func (doc *document) fillIn() {
	if doc.MaxRows == 0 {
		doc.MaxRows = defaultMaxRows
	}
	if doc.Purpose == "" {
		doc.Purpose = artifact.DefaultPurpose
	}
	if doc.Output == "" && doc.Kind == artifact.KindScorer {
		doc.Output = artifact.OutputProbability
	}
}

// check validates the manifest as it will be embedded, with limits in place of those to be measured.
func (s *Spec) check() error {
	m := s.Manifest
	if m.Limits.MemoryPages == 0 {
		m.Limits.MemoryPages = 1
	}
	if m.Limits.FuelBase == 0 && m.Limits.FuelPerRow == 0 {
		m.Limits.FuelBase = 1
	}
	return m.Check()
}

// features reads the features as the manifest has them: name, scope, and the rest is the recipe. The
// scope may be left out where the recipe tells it.
func (doc *document) features() ([]artifact.Feature, error) {
	list := make([]map[string]any, len(doc.Features))
	for i, entry := range doc.Features {
		recipe := map[string]any{}
		scope := artifact.ScopeSubject
		for key, value := range entry {
			switch key {
			case "name", "scope":
			default:
				recipe[key] = value
			}
			if key == "actionProperty" {
				scope = artifact.ScopeCandidate
			}
		}
		if given, ok := entry["scope"]; ok {
			scope = fmt.Sprint(given)
		}
		list[i] = map[string]any{"name": entry["name"], "scope": scope, "recipe": recipe}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, nba.Errorf(nba.CodePluginRefused, "%s: /features: %v", SpecFile, err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var features []artifact.Feature
	if err := dec.Decode(&features); err != nil {
		return nil, nba.Errorf(nba.CodePluginRefused, "%s: /features: %v; docs/format/manifest.md lists the recipes", SpecFile, err)
	}
	return features, nil
}

// row resolves the names of a case.
func (c *testCase) row(features []artifact.Feature) (Case, error) {
	row := Case{Name: c.Name, Features: make([]*float64, len(features)), Score: math.NaN()}
	if c.Score != nil {
		row.Score = *c.Score
	}
	found := 0
	for i := range features {
		value, ok := c.Features[features[i].Name]
		if ok {
			found++
		}
		row.Features[i] = value
	}
	if found != len(c.Features) {
		return row, nba.Errorf(nba.CodePluginRefused, "%s: case %q names a feature that is not in the list of features", SpecFile, c.Name)
	}
	return row, nil
}
