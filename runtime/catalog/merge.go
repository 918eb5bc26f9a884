package catalog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// MaxFiles bounds the files that are merged into one document.
const MaxFiles = 1000

// Source is one file of a catalog that is written in several: a YAML document with some of the fields, or
// CSV rows of the decision table that has the name of the file.
type Source struct {
	// File names it in messages; a table is named by its last part without .csv.
	File string
	Text []byte
}

// Merged is one document made of several files, with where each line of it comes from.
type Merged struct {
	Document []byte

	places []place // of the nodes, in the order of the document
	single string  // file of a document that is one file as it is
}

// place is where a node of the merged document comes from.
type place struct {
	line, column     int // in the document
	file             string
	fromLine, fromAt int
	block            bool // literal text, which begins on the next line
	shift            int  // how much further in its lines are in their file
}

// Merge makes one document of several files, in the order of their names:
//
//   - Lists are joined. A name that stands in two files is a mistake.
//   - models are joined. A model that stands in two files is a mistake.
//   - Every other field stands in one file, or is the same in all: apiVersion, kind and name may be repeated.
//   - The rows of a table without rows are those of the CSV file with its name.
//
// Mistakes name both places. The document is made in spite of them, without what is there twice, so that
// the mistakes in it can be found too; it is nil if a file is not YAML. What is there twice in one file is
// for Compile to report.
func Merge(sources []Source) (*Merged, []nba.Detail) {
	if len(sources) == 1 && !isCSV(sources[0].File) {
		return &Merged{Document: sources[0].Text, single: sources[0].File}, nil
	}
	m := &merger{files: map[*yaml.Node]string{}, names: map[[2]string]*yaml.Node{}, lines: map[string][]string{}, rows: map[string]Source{}, used: map[string]bool{}, root: &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}}
	sources = slices.Clone(sources)
	slices.SortFunc(sources, func(a, b Source) int { return cmp.Compare(a.File, b.File) })
	if len(sources) > MaxFiles {
		return nil, []nba.Detail{{File: sources[MaxFiles].File, Line: 1, Column: 1, Code: nba.CodeTooLarge, Detail: fmt.Sprintf("a catalog has at most %d files", MaxFiles)}}
	}
	broken := false
	for _, source := range sources {
		if isCSV(source.File) {
			m.rows[tableOf(source.File)] = source
			continue
		}
		broken = !m.add(source) || broken
	}
	m.tables()
	for name, source := range m.rows {
		if !m.used[name] && !broken {
			m.problems = append(m.problems, nba.Detail{File: source.File, Line: 1, Column: 1, Code: nba.CodeInvalid,
				Detail: fmt.Sprintf("no table named %s takes its rows from this file: a table of the catalog has its name, and neither rows nor csv", quote(name))})
		}
	}
	slices.SortFunc(m.problems, compareDetails)
	if broken {
		return nil, m.problems
	}
	merged, err := m.encode()
	if err != nil {
		return nil, append(m.problems, nba.Detail{File: sources[0].File, Line: 1, Column: 1, Code: nba.CodeInvalid, Detail: err.Error()})
	}
	return merged, m.problems
}

func compareDetails(a, b nba.Detail) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Detail, b.Detail))
}

func isCSV(file string) bool { return strings.EqualFold(path.Ext(file), ".csv") }

func tableOf(file string) string { return strings.TrimSuffix(path.Base(file), path.Ext(file)) }

// merger joins the files.
type merger struct {
	files    map[*yaml.Node]string // where a node comes from
	lines    map[string][]string   // by file
	rows     map[string]Source     // CSV files by the name of their table
	used     map[string]bool
	root     *yaml.Node
	names    map[[2]string]*yaml.Node // the first with a name, by field and name
	problems []nba.Detail
}

// known is the first entry of a field with a name: n itself if it is, or has none.
func (m *merger) known(field, name string, n *yaml.Node) *yaml.Node {
	id := [2]string{field, name}
	if first, ok := m.names[id]; ok && name != "" {
		return first
	}
	m.names[id] = n
	return n
}

func (m *merger) fail(n *yaml.Node, format string, args ...any) {
	m.problems = append(m.problems, nba.Detail{File: m.files[n], Line: n.Line, Column: n.Column, Code: nba.CodeInvalid, Detail: fmt.Sprintf(format, args...)})
}

// at names a place in messages.
func (m *merger) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", m.files[n], n.Line) }

// add joins one file. It returns false for one that cannot be read.
func (m *merger) add(source Source) bool {
	d := &decoder{file: source.File, lines: strings.Split(string(source.Text), "\n")}
	m.lines[source.File] = d.lines
	root := d.parse(source.Text)
	if root == nil {
		if report, ok := errors.AsType[*nba.Error](d.err()); ok {
			m.problems = append(m.problems, report.Details...)
		}
		return false
	}
	m.own(root, source.File)
	if root.Kind != yaml.MappingNode {
		m.fail(root, "a file of a catalog is a mapping with some of the fields of a catalog")
		return false
	}
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if first, again := seen[key.Value]; again {
			m.fail(key, "%s is given twice: first on line %d", quote(key.Value), first.Line)
			continue
		}
		seen[key.Value] = key
		m.field(key, value)
	}
	return true
}

func (m *merger) own(n *yaml.Node, file string) {
	m.files[n] = file
	for _, child := range n.Content {
		m.own(child, file)
	}
}

// field joins one field of one file.
func (m *merger) field(key, value *yaml.Node) {
	for i := 0; i+1 < len(m.root.Content); i += 2 {
		if firstKey, first := m.root.Content[i], m.root.Content[i+1]; firstKey.Value == key.Value {
			m.join(firstKey, first, key, value)
			return
		}
	}
	// A copy: what is joined is added to it, and stays of its file.
	joined := *value
	joined.Content = nil
	m.files[&joined] = m.files[value]
	m.root.Content = append(m.root.Content, key, &joined)
	switch {
	case value.Kind == yaml.SequenceNode || key.Value == fieldModels && value.Kind == yaml.MappingNode:
		m.join(key, &joined, key, value)
	default:
		joined.Content = value.Content
	}
}

const (
	fieldModels = "models"
	fieldTables = "tables"
	fieldName   = "name"
)

func (m *merger) join(firstKey, first, key, value *yaml.Node) {
	switch {
	case first.Kind != value.Kind:
		m.fail(value, "%s is another kind of value at %s", key.Value, m.at(firstKey))
	case value.Kind == yaml.SequenceNode:
		first.Style &^= yaml.FlowStyle
		for _, item := range value.Content {
			if other := m.known(key.Value, nameOf(item), item); m.files[other] != m.files[item] {
				m.fail(valueOf(item, fieldName), "%s is in %s twice: first at %s", quote(nameOf(item)), key.Value, m.at(other))
				continue
			}
			first.Content = append(first.Content, item)
		}
	case key.Value == fieldModels && value.Kind == yaml.MappingNode:
		first.Style &^= yaml.FlowStyle
		for i := 0; i+1 < len(value.Content); i += 2 {
			if other := m.known(key.Value, value.Content[i].Value, value.Content[i]); m.files[other] != m.files[value] {
				m.fail(value.Content[i], "model %s is there twice: first at %s", quote(value.Content[i].Value), m.at(other))
				continue
			}
			first.Content = append(first.Content, value.Content[i:i+2]...)
		}
	case value.Kind == yaml.ScalarNode && value.Value == first.Value:
	default:
		m.fail(key, "%s is in two files: first at %s", key.Value, m.at(firstKey))
	}
}

// nameOf is the name of an entry of a list, or "".
func nameOf(n *yaml.Node) string {
	if value := valueOf(n, fieldName); value != nil && value.Kind == yaml.ScalarNode {
		return value.Value
	}
	return ""
}

// valueOf is the value of a key of a mapping, or nil.
func valueOf(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// tables puts the rows of CSV files into the tables with their names.
func (m *merger) tables() {
	tables := valueOf(m.root, fieldTables)
	if tables == nil {
		return
	}
	for _, table := range tables.Content {
		source, ok := m.rows[nameOf(table)]
		if !ok || table.Kind != yaml.MappingNode || valueOf(table, "rows") != nil || valueOf(table, "csv") != nil {
			continue
		}
		m.used[nameOf(table)] = true
		var lines []string
		for line := range strings.Lines(string(source.Text)) {
			lines = append(lines, strings.TrimRight(line, " \t\r\n"))
		}
		key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "csv", Line: 1, Column: 1}
		rows := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.LiteralStyle, Value: strings.Join(lines, "\n") + "\n", Column: 1}
		m.files[key], m.files[rows] = source.File, source.File
		table.Style &^= yaml.FlowStyle
		table.Content = append(table.Content, key, rows)
	}
}

// encode writes the document and notes where its nodes come from.
func (m *merger) encode() (*Merged, error) {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(m.root); err != nil {
		return nil, fmt.Errorf("writing the files as one document: %w", err)
	}
	var written yaml.Node
	if err := yaml.Unmarshal(b.Bytes(), &written); err != nil || len(written.Content) != 1 {
		return nil, fmt.Errorf("reading the files as one document: %w", err)
	}
	out := &Merged{Document: b.Bytes()}
	m.note(out, strings.Split(b.String(), "\n"), m.root, written.Content[0])
	slices.SortStableFunc(out.places, func(a, b place) int { return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column)) })
	return out, nil
}

// note walks what was merged and what was written side by side.
func (m *merger) note(out *Merged, lines []string, from, written *yaml.Node) {
	if file, ok := m.files[from]; ok {
		p := place{line: written.Line, column: written.Column, file: file, fromLine: from.Line, fromAt: from.Column,
			block: written.Style&yaml.LiteralStyle != 0}
		if p.block && !isCSV(file) {
			p.shift = indentAfter(m.lines[file], from.Line) - indentAfter(lines, written.Line)
		}
		out.places = append(out.places, p)
	}
	for i := range from.Content {
		if i < len(written.Content) {
			m.note(out, lines, from.Content[i], written.Content[i])
		}
	}
}

// indentAfter is how far in the first line with text after a line is.
func indentAfter(lines []string, line int) int {
	for ; line < len(lines); line++ {
		if text := strings.TrimLeft(lines[line], " "); text != "" {
			return len(lines[line]) - len(text)
		}
	}
	return 0
}

// Place is where a place of the document comes from.
func (m *Merged) Place(line, column int) (file string, fromLine, fromColumn int) {
	if m.single != "" || len(m.places) == 0 {
		return m.single, line, column
	}
	i, _ := slices.BinarySearchFunc(m.places, place{line: line, column: min(column, math.MaxInt-1) + 1}, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	p := m.places[max(0, i-1)]
	switch {
	case p.line == line:
		return p.file, p.fromLine, p.fromAt + max(0, column-p.column)
	case p.block && isCSV(p.file):
		return p.file, p.fromLine + line - p.line, 1
	case p.block:
		return p.file, p.fromLine + line - p.line, column + p.shift
	default:
		return p.file, p.fromLine, p.fromAt
	}
}

// firstOnLine ends the messages of what is there twice.
const firstOnLine = ": first on line "

// InFiles is details about the document as details about the files it was made of, in the order of the files.
func (m *Merged) InFiles(details []nba.Detail) []nba.Detail {
	out := slices.Clone(details)
	for i := range out {
		if out[i].Line == 0 {
			continue
		}
		out[i].File, out[i].Line, out[i].Column = m.Place(out[i].Line, out[i].Column)
		if before, number, ok := strings.Cut(out[i].Detail, firstOnLine); ok && m.single == "" {
			if line, err := strconv.Atoi(number); err == nil {
				file, from, _ := m.Place(line, math.MaxInt)
				out[i].Detail = fmt.Sprintf("%s: first at %s:%d", before, file, from)
			}
		}
	}
	slices.SortStableFunc(out, compareDetails)
	return slices.Compact(out)
}
