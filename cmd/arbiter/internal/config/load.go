package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"go.yaml.in/yaml/v3"
)

const (
	envPrefix    = "ARBITER_"
	maxFileBytes = 1 << 20
)

// Sources are where settings come from, beside the defaults.
type Sources struct {
	// File is a YAML file; empty means none.
	File string
	// Environ holds NAME=value lines, as os.Environ gives them. Variables that begin with ARBITER_ and
	// are no setting are reported as warnings, unless OtherEnv names them: orchestrators set such
	// variables for a service called arbiter, so they cannot be errors.
	Environ  []string
	OtherEnv []string
	// Overrides are settings by key, such as {"api.addr": "127.0.0.1:0"}, as flags gave them.
	Overrides map[string]string
}

// Load reads all sources over the defaults and validates the result. The error is an *nba.Error that
// holds every problem of every source, those of the file with line and column. Messages name keys and
// expectations and never values.
func Load(sources Sources) (c Config, warnings []string, err error) {
	c = Default()
	l := &loader{problems: problems{places: map[string]nba.Detail{}}, byKey: map[string]value{}, lists: map[string]func() []setting{}}
	for _, list := range c.lists() {
		l.lists[list.key] = list.add
	}
	for _, s := range c.settings() {
		l.byKey[s.key] = s.value
		l.keys = append(l.keys, s.key)
	}
	if sources.File != "" {
		l.file(sources.File)
	}
	warnings = l.environ(sources.Environ, sources.OtherEnv)
	for _, key := range sortedKeys(sources.Overrides) {
		l.set(key, sources.Overrides[key], nba.Detail{File: "flag --" + flagOf(key)})
	}
	if l.unreadable == nil && !l.notYAML { // else what is missing is missing for another reason
		c.validate(&l.problems)
	}
	return c, warnings, errors.Join(l.unreadable, l.err())
}

// loader sets fields and collects what is wrong.
type loader struct {
	problems

	keys       []string
	byKey      map[string]value
	lists      map[string]func() []setting
	unreadable error
	notYAML    bool
}

// set gives key its text; place is where it was found.
func (l *loader) set(key, text string, place nba.Detail) {
	l.places[key] = place
	field, ok := l.byKey[key]
	if !ok {
		l.key(key, "is not a setting"+l.suggestion(key))
		return
	}
	if err := field.Set(text); err != nil {
		l.key(key, err.Error())
	}
}

func (l *loader) file(path string) {
	text, err := readFile(path)
	if err != nil {
		l.unreadable = err
		return
	}
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return // an empty file sets nothing
	} else if err != nil {
		l.notYAML = true
		l.add(nba.Detail{File: path, Line: yamlLine(err), Detail: "the file is not YAML: " + yamlMessage(err)})
		return
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		l.add(nba.Detail{File: path, Line: 1, Detail: "the file holds more than one document"})
	}
	l.mapping(path, "", document.Content[0])
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nba.Errorf(nba.CodeInvalid, "reading the configuration: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, nba.Errorf(nba.CodeInvalid, "reading the configuration: %w", err)
	}
	if len(text) > maxFileBytes {
		return nil, nba.Errorf(nba.CodeTooLarge, "the configuration %s is larger than 1 MiB", path)
	}
	return text, nil
}

// mapping reads the keys below prefix.
func (l *loader) mapping(path, prefix string, node *yaml.Node) {
	at := func(n *yaml.Node) nba.Detail { return nba.Detail{File: path, Line: n.Line, Column: n.Column} }
	if node.Kind != yaml.MappingNode {
		d := at(node)
		d.Detail = "here go keys, such as api: {addr: 127.0.0.1:8080}"
		l.add(d)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, child := node.Content[i], node.Content[i+1]
		key := prefix + name.Value
		section := slices.ContainsFunc(l.keys, func(known string) bool { return strings.HasPrefix(known, key+".") })
		_, known := l.byKey[key]
		d := at(name)
		switch {
		case l.lists[key] != nil && !seen[name.Value]:
			l.entries(path, key, l.lists[key], child)
		case name.Kind != yaml.ScalarNode || !section && !known:
			d.Detail = "unknown key" + l.suggestion(key)
			l.add(d)
		case seen[name.Value]:
			d.Detail = key + " occurs twice"
			l.add(d)
		case section:
			l.mapping(path, key+".", child)
		case child.Kind != yaml.ScalarNode || child.Tag == "!!null":
			d = at(child)
			d.Detail = key + " must be a single value"
			l.add(d)
		default:
			l.set(key, child.Value, at(child))
		}
		seen[name.Value] = true
	}
}

// environ reads ARBITER_* variables and names those that are no setting.
func (l *loader) environ(environ, other []string) (warnings []string) {
	byEnv := map[string]string{}
	for _, key := range l.keys {
		byEnv[envOf(key)] = key
	}
	for _, line := range environ {
		name, text, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(other, name) {
			continue
		}
		if key, ok := byEnv[name]; ok {
			l.set(key, text, nba.Detail{File: "environment variable " + name})
			continue
		}
		warnings = append(warnings, fmt.Sprintf("environment variable %s is not a setting and is ignored", name))
	}
	slices.Sort(warnings)
	return warnings
}

// suggestion names the known key that is nearest to key, if one is near.
func (l *loader) suggestion(key string) string {
	best, least := "", len(key)/3+2
	for _, known := range l.keys {
		candidates := []string{known}
		if section, _, ok := strings.Cut(known, "."); ok && !strings.Contains(key, ".") {
			candidates = append(candidates, section)
		}
		for _, candidate := range candidates {
			if d := distance(key, candidate); d < least {
				best, least = candidate, d
			}
		}
	}
	if best == "" {
		return ""
	}
	return ": did you mean " + best + "?"
}

// distance is the Levenshtein distance of two short texts.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// yamlLine finds the line in an error of the YAML package, which gives it in its text alone.
func yamlLine(err error) int {
	var line int
	if _, scanErr := fmt.Sscanf(err.Error(), "yaml: line %d:", &line); scanErr != nil {
		return 1
	}
	return line
}

// yamlMessage is the error without the package's name and the line.
func yamlMessage(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.HasPrefix(text, "line ") {
		if _, after, ok := strings.Cut(text, ": "); ok {
			return after
		}
	}
	return text
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
