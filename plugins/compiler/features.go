package compiler

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const maxFeatureFileBytes = 4 << 20

// FeatureSpec tells how the features of a model are made. LoadFeatures reads it from a file.
type FeatureSpec struct {
	// Purpose is the purpose whose consent the features need; "" means the default.
	Purpose string

	file     string
	features []specified
	prefixes []prefix
}

// specified is one listed feature and its line.
type specified struct {
	artifact.Feature
	line int
}

// prefix makes every model feature that begins with text, and is not listed, a one-hot level of
// attribute: the level is the rest of the name.
type prefix struct {
	text, attribute string
	line            int
}

// LoadFeatures reads a feature file:
//
//	purpose: profiling
//	features:
//	  - {name: tenure, attribute: tenure}
//	  - {name: "Contract_Two year", oneHot: {attribute: contract, level: "Two year"}}
//	oneHotPrefixes: {"Contract_": contract}
//
// A feature has a name and one recipe, as in the manifest. file is used in messages only. Every
// mistake is a detail, with its line, of one *nba.Error with CodeModelInvalid.
func LoadFeatures(content []byte, file string) (*FeatureSpec, error) {
	l := &featureLoader{spec: &FeatureSpec{file: file}}
	if len(content) > maxFeatureFileBytes {
		return nil, nba.Errorf(nba.CodeTooLarge, "the feature file has more than %d bytes; list fewer features", maxFeatureFileBytes)
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(content))
	if err := dec.Decode(&doc); err != nil {
		l.add(yamlLine(err), "not YAML: the text breaks its syntax here or on the line before")
		if errors.Is(err, io.EOF) {
			l.details[0].Detail = "the file is empty; list the features"
		}
		return nil, l.err()
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		l.add(1, "the file holds more than one document; keep one")
	}
	l.mapping(doc.Content[0], map[string]func(*yaml.Node){
		"purpose":        func(n *yaml.Node) { l.spec.Purpose = l.text(n) },
		"features":       func(n *yaml.Node) { l.sequence(n, l.feature) },
		"oneHotPrefixes": l.prefixes,
	})
	if err := l.err(); err != nil {
		return nil, err
	}
	return l.spec, nil
}

// yamlLine takes the line out of a message of the YAML package, 1 if it has none.
func yamlLine(err error) int {
	line := 1
	if _, rest, ok := strings.Cut(err.Error(), "line "); ok {
		_, _ = fmt.Sscanf(rest, "%d", &line)
	}
	return line
}

type featureLoader struct {
	spec    *FeatureSpec
	details []nba.Detail
}

func (l *featureLoader) add(line int, format string, args ...any) {
	if len(l.details) < 100 {
		l.details = append(l.details, nba.Detail{File: l.spec.file, Line: line, Code: nba.CodeModelInvalid, Detail: fmt.Sprintf(format, args...)})
	}
}

func (l *featureLoader) err() error {
	if len(l.details) == 0 {
		return nil
	}
	return &nba.Error{Code: nba.CodeModelInvalid, Message: "the feature file has mistakes", Details: l.details}
}

// mapping calls the function of each key and refuses keys it does not know.
func (l *featureLoader) mapping(n *yaml.Node, fields map[string]func(*yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		l.add(n.Line, "expected a mapping of keys to values")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		set, ok := fields[k.Value]
		switch {
		case !ok:
			known := make([]string, 0, len(fields))
			for name := range fields {
				known = append(known, name)
			}
			slices.Sort(known)
			l.add(k.Line, "unknown key %q%s; the keys are %s", k.Value, l.suggest(k.Value, known), strings.Join(known, ", "))
		case seen[k.Value]:
			l.add(k.Line, "the key %s is repeated", k.Value)
		default:
			seen[k.Value] = true
			set(n.Content[i+1])
		}
	}
}

func (l *featureLoader) sequence(n *yaml.Node, item func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		l.add(n.Line, "expected a list")
		return
	}
	for _, c := range n.Content {
		item(c)
	}
}

func (l *featureLoader) text(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "" {
		l.add(n.Line, "expected a text")
		return ""
	}
	return n.Value
}

func (l *featureLoader) number(n *yaml.Node) float64 {
	var f float64
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" && n.Tag != "!!float" || n.Decode(&f) != nil {
		l.add(n.Line, "expected a number")
	}
	return f
}

func (l *featureLoader) texts(n *yaml.Node) []string {
	var out []string
	l.sequence(n, func(c *yaml.Node) { out = append(out, l.text(c)) })
	return out
}

func (l *featureLoader) feature(n *yaml.Node) {
	f := specified{line: n.Line}
	r := &f.Recipe
	l.mapping(n, map[string]func(*yaml.Node){
		"name":      func(n *yaml.Node) { f.Name = l.text(n) },
		"scope":     func(n *yaml.Node) { f.Scope = l.text(n) },
		"attribute": func(n *yaml.Node) { r.Attribute = l.text(n) },
		"levels":    func(n *yaml.Node) { r.Levels = l.texts(n) },
		"log": func(n *yaml.Node) {
			r.Log = &artifact.Log{}
			l.mapping(n, map[string]func(*yaml.Node){
				"attribute": func(n *yaml.Node) { r.Log.Attribute = l.text(n) },
				"offset":    func(n *yaml.Node) { r.Log.Offset = l.number(n) },
			})
		},
		"ratio": func(n *yaml.Node) {
			r.Ratio = &artifact.Ratio{}
			l.mapping(n, map[string]func(*yaml.Node){
				"attribute": func(n *yaml.Node) { r.Ratio.Attribute = l.text(n) },
				"by":        func(n *yaml.Node) { r.Ratio.By = l.text(n) },
			})
		},
		"history":        func(n *yaml.Node) { r.History = l.history(n) },
		"eventStrategy":  func(n *yaml.Node) { r.EventStrategy = l.text(n) },
		"actionProperty": func(n *yaml.Node) { r.ActionProperty = l.text(n) },
		"context":        func(n *yaml.Node) { r.Context = l.text(n) },
		"default":        func(n *yaml.Node) { d := l.number(n); r.Default = &d },
		"oneHot": func(n *yaml.Node) {
			r.OneHot = &artifact.OneHot{}
			l.mapping(n, map[string]func(*yaml.Node){
				"attribute": func(n *yaml.Node) { r.OneHot.Attribute = l.text(n) },
				"level":     func(n *yaml.Node) { r.OneHot.Level = l.text(n) },
			})
		},
		"bucket": func(n *yaml.Node) {
			r.Bucket = &artifact.Bucket{}
			l.mapping(n, map[string]func(*yaml.Node){
				"attribute": func(n *yaml.Node) { r.Bucket.Attribute = l.text(n) },
				"bounds": func(n *yaml.Node) {
					l.sequence(n, func(c *yaml.Node) { r.Bucket.Bounds = append(r.Bucket.Bounds, l.number(c)) })
				},
			})
		},
	})
	if f.Scope == "" {
		f.Scope = r.ScopeOf()
	}
	if f.Name == "" {
		l.add(n.Line, "the feature has no name; give it the model's name of the feature")
		return
	}
	for _, problem := range artifact.CheckFeature(&f.Feature) {
		l.add(n.Line, "feature %q: %s", f.Name, problem)
	}
	if len(l.spec.features) == artifact.MaxFeatures {
		l.add(n.Line, "there are more than %d features", artifact.MaxFeatures)
		return
	}
	for _, other := range l.spec.features {
		if other.Name == f.Name {
			l.add(n.Line, "feature %q is already listed on line %d", f.Name, other.line)
			return
		}
	}
	l.spec.features = append(l.spec.features, f)
}

func (l *featureLoader) history(n *yaml.Node) *artifact.History {
	h := &artifact.History{}
	l.mapping(n, map[string]func(*yaml.Node){
		"aggregate": func(n *yaml.Node) { h.Aggregate = l.text(n) },
		"outcome":   func(n *yaml.Node) { h.Outcome = l.text(n) },
		"channel":   func(n *yaml.Node) { h.Channel = l.text(n) },
		"action":    func(n *yaml.Node) { h.Action = l.text(n) },
		"days": func(n *yaml.Node) {
			if n.Tag != "!!int" || n.Decode(&h.Days) != nil {
				l.add(n.Line, "expected a whole number of days")
			}
		},
		"sameAction": func(n *yaml.Node) {
			if n.Tag != "!!bool" || n.Decode(&h.SameAction) != nil {
				l.add(n.Line, "expected true or false")
			}
		},
	})
	return h
}

func (l *featureLoader) prefixes(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		l.add(n.Line, "expected a mapping of prefixes to attributes")
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		p := prefix{text: l.text(k), attribute: l.text(n.Content[i+1]), line: k.Line}
		if slices.ContainsFunc(l.spec.prefixes, func(o prefix) bool { return o.text == p.text }) {
			l.add(k.Line, "the prefix %q is repeated", p.text)
			continue
		}
		l.spec.prefixes = append(l.spec.prefixes, p)
	}
}

// List are the listed features in the order of the file, for those who have no model yet. Prefixes need
// the names of a model's features, so that a file that has any is an error.
func (s *FeatureSpec) List() ([]artifact.Feature, error) {
	l := &featureLoader{spec: s}
	for _, p := range s.prefixes {
		l.add(p.line, "the levels of prefix %q are known from a model only; give the compiled plugin instead of the feature file, or list the features one by one", p.text)
	}
	if len(s.features) == 0 && len(s.prefixes) == 0 {
		l.add(1, "there are no features; list some")
	}
	out := make([]artifact.Feature, len(s.features))
	for i := range s.features {
		out[i] = s.features[i].Feature
	}
	return out, l.err()
}

// resolve gives each of the model's features its recipe, in the model's order. A nil spec makes every
// feature the attribute of the same name.
func (s *FeatureSpec) resolve(names []string) ([]artifact.Feature, error) {
	out := make([]artifact.Feature, len(names))
	if s == nil {
		for i, name := range names {
			out[i] = artifact.Feature{Name: name, Scope: artifact.ScopeSubject, Recipe: artifact.Recipe{Attribute: name}}
		}
		return out, nil
	}
	l := &featureLoader{spec: s}
	listed := make(map[string]*specified, len(s.features))
	spare := make([]string, 0, len(s.features)) // listed but not in the model
	for i := range s.features {
		f := &s.features[i]
		listed[f.Name] = f
		if !slices.Contains(names, f.Name) {
			spare = append(spare, f.Name)
			l.add(f.line, "feature %q is not in the model%s", f.Name, l.suggest(f.Name, names))
		}
	}
	used := make([]bool, len(s.prefixes))
	for i, name := range names {
		if f := listed[name]; f != nil {
			out[i] = f.Feature
		} else if p := s.longestPrefix(name); p >= 0 {
			used[p] = true
			out[i] = artifact.Feature{Name: name, Scope: artifact.ScopeSubject, Recipe: artifact.Recipe{
				OneHot: &artifact.OneHot{Attribute: s.prefixes[p].attribute, Level: name[len(s.prefixes[p].text):]}}}
		} else {
			l.add(0, "the model's feature %q is not listed and matches no prefix%s", name, l.suggest(name, spare))
		}
	}
	for i, p := range s.prefixes {
		if !used[i] {
			l.add(p.line, "no feature of the model that is not listed begins with the prefix %q", p.text)
		}
	}
	if len(l.details) > 0 {
		return nil, &nba.Error{Code: nba.CodeModelInvalid, Message: "the feature file does not fit the model", Details: l.details}
	}
	return out, nil
}

// longestPrefix is the index of the longest prefix of name, -1 if none is.
func (s *FeatureSpec) longestPrefix(name string) int {
	best := -1
	for i, p := range s.prefixes {
		if strings.HasPrefix(name, p.text) && len(name) > len(p.text) && (best < 0 || len(p.text) > len(s.prefixes[best].text)) {
			best = i
		}
	}
	return best
}

// suggest is suggest for the first mistakes only: comparing names costs more than a hundred mistakes need.
func (l *featureLoader) suggest(name string, names []string) string {
	if len(l.details) >= 20 {
		return ""
	}
	return suggest(name, names)
}

// suggest is " (did you mean ...?)" when one of names is near, else "".
func suggest(name string, names []string) string {
	if near := nba.Nearest(name, names); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}
