package catalog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// decoder reads YAML nodes strictly and collects every mistake with its place.
type decoder struct {
	file     string
	lines    []string // of the source, for places inside block text
	problems []nba.Detail
	mistakes int // including those beyond maxCollected
	compared int // names compared for suggestions

	describing *description // not nil: nothing is read; see Schema
}

// Limits of the report: what is listed, what is collected before sorting, and the work spent on
// suggestions. A document of nothing but mistakes must not cost more than a good one.
const (
	maxListed    = 1000
	maxCollected = 10 * maxListed
	maxCompared  = 50_000
)

func (d *decoder) fail(n *yaml.Node, code nba.Code, format string, args ...any) {
	d.failAt(n.Line, n.Column, code, fmt.Sprintf(format, args...))
}

func (d *decoder) failAt(line, column int, code nba.Code, detail string) {
	if d.mistakes++; d.mistakes > maxCollected {
		return
	}
	d.problems = append(d.problems, nba.Detail{File: d.file, Line: line, Column: column, Code: code, Detail: detail})
}

// err is the report of all mistakes in the order of the document, nil if there are none.
func (d *decoder) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b nba.Detail) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Detail, b.Detail))
	})
	problems := slices.Compact(d.problems)
	count := max(len(problems), d.mistakes-(len(d.problems)-len(problems)))
	message := fmt.Sprintf("the catalog has %d mistakes", count)
	if count == 1 {
		message = "the catalog has 1 mistake"
	}
	if len(problems) > maxListed {
		message += fmt.Sprintf(", of which %d are listed", maxListed)
		problems = problems[:maxListed]
	}
	return &nba.Error{Code: nba.CodeCatalogInvalid, Message: message, Details: problems}
}

// parse reads the one document of source. It returns nil after reporting why there is none.
func (d *decoder) parse(source []byte) *yaml.Node {
	if len(source) > MaxDocumentBytes {
		d.failAt(1, 1, nba.CodeTooLarge, fmt.Sprintf("the document is larger than %d bytes", MaxDocumentBytes))
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(source))
	var document, second yaml.Node
	if err := decoder.Decode(&document); err != nil {
		d.syntax(err)
		return nil
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			d.syntax(err)
		} else {
			d.fail(&second, nba.CodeInvalid, "a catalog is one document: remove what follows the line ---")
		}
		return nil
	}
	root := document.Content[0]
	if d.plain(root, 0); len(d.problems) > 0 {
		return nil
	}
	return root
}

// syntax reports an error of the YAML parser, which has the form "yaml: line 3: what".
func (d *decoder) syntax(err error) {
	if errors.Is(err, io.EOF) {
		d.failAt(1, 1, nba.CodeInvalid, "the document is empty: a catalog begins with apiVersion: "+apiVersion)
		return
	}
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		if number, what, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, message = n, what
			}
		}
		if countsFromZero(message) {
			line++
		}
	}
	message, _, _ = strings.Cut(message, "\n")
	d.failAt(line, 1, nba.CodeMalformed, "not YAML: "+message+", here or in what begins here")
}

// countsFromZero tells the errors of the YAML library's parser, which count lines from 0, from those
// of its scanner, which count from 1.
func countsFromZero(message string) bool {
	for _, prefix := range [...]string{"did not find expected '-'", "did not find expected ','", "did not find expected key",
		"did not find expected node", "did not find expected <", "found undefined tag", "found duplicate %", "found incompatible"} {
		if strings.HasPrefix(message, prefix) {
			return true
		}
	}
	return false
}

// plain refuses the parts of YAML that make one line mean something elsewhere: anchors, aliases,
// merge keys and tags. Refusing them also means that a document cannot grow when it is read.
func (d *decoder) plain(n *yaml.Node, depth int) {
	switch {
	case depth > maxDepth:
		d.fail(n, nba.CodeTooLarge, "nested deeper than %d levels", maxDepth)
		return
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fail(n, nba.CodeInvalid, "anchors and aliases (& and *) are not allowed: write the value out")
	case n.Tag == "!!merge":
		d.fail(n, nba.CodeInvalid, "merge keys (<<) are not allowed: write the fields out")
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n, nba.CodeInvalid, "tags (!) are not allowed: write the plain value")
	}
	for _, child := range n.Content {
		d.plain(child, depth+1)
	}
}

// field is one key of a mapping and how its value is read.
type field struct {
	key      string
	required bool
	read     func(n *yaml.Node)
}

func required(key string, read func(*yaml.Node)) field {
	return field{key: key, required: true, read: read}
}
func optional(key string, read func(*yaml.Node)) field { return field{key: key, read: read} }

// object reads a mapping with known keys. what names it in messages, with its article.
func (d *decoder) object(n *yaml.Node, what string, fields ...field) {
	if schema, ok := d.describes(n); ok {
		d.describeObject(schema, what, fields)
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, nba.CodeInvalid, "%s is a mapping with the fields %s", what, keys(fields))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		f := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value })
		switch line, again := seen[key.Value]; {
		case key.Kind != yaml.ScalarNode || f < 0:
			d.unknownKey(key, what, fields)
		case again:
			d.fail(key, nba.CodeInvalid, "%s is given twice: first on line %d", key.Value, line)
		default:
			seen[key.Value] = key.Line
			if value.Tag == "!!null" {
				d.fail(key, nba.CodeInvalid, "%s has no value: give one or remove the line", key.Value)
				continue
			}
			fields[f].read(value)
		}
	}
	for _, f := range fields {
		if _, ok := seen[f.key]; f.required && !ok {
			d.fail(n, nba.CodeInvalid, "%s needs the field %s", what, f.key)
		}
	}
}

func (d *decoder) unknownKey(key *yaml.Node, what string, fields []field) {
	if key.Kind != yaml.ScalarNode {
		d.fail(key, nba.CodeInvalid, "a key is plain text")
		return
	}
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].key
	}
	detail := fmt.Sprintf("unknown field %s", quote(key.Value))
	if near := d.near(key.Value, names); near != "" {
		detail += ": did you mean " + near + "?"
	} else {
		detail += fmt.Sprintf(": %s has %s", what, keys(fields))
	}
	d.fail(key, nba.CodeInvalid, "%s", detail)
}

func keys(fields []field) string {
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].key
	}
	return strings.Join(names, ", ")
}

// list reads a sequence of at most limit items. plural names the items in messages.
func (d *decoder) list(plural string, limit int, item func(*yaml.Node)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if schema, ok := d.describes(n); ok {
			d.describeList(schema, limit, item)
			return
		}
		if n.Kind != yaml.SequenceNode {
			d.fail(n, nba.CodeInvalid, "%s are a list: begin each with -", plural)
			return
		}
		if len(n.Content) > limit {
			d.fail(n.Content[limit], nba.CodeTooLarge, "at most %d %s", limit, plural)
			return
		}
		for _, child := range n.Content {
			item(child)
		}
	}
}

// dictionary reads a mapping with free keys, which are names.
func (d *decoder) dictionary(plural string, limit int, entry func(key, value *yaml.Node)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if schema, ok := d.describes(n); ok {
			d.describeDictionary(schema, limit, entry)
			return
		}
		if n.Kind != yaml.MappingNode {
			d.fail(n, nba.CodeInvalid, "%s are a mapping of names to values", plural)
			return
		}
		if len(n.Content)/2 > limit {
			d.fail(n.Content[2*limit], nba.CodeTooLarge, "at most %d %s", limit, plural)
			return
		}
		seen := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if line, again := seen[key.Value]; again {
				d.fail(key, nba.CodeInvalid, "%s is given twice: first on line %d", quote(key.Value), line)
				continue
			}
			seen[key.Value] = key.Line
			if key.Kind != yaml.ScalarNode || !validName(key.Value) {
				d.fail(key, nba.CodeInvalid, "%s", nameRule)
				continue
			}
			entry(key, value)
		}
	}
}

// text is a string of the document and where it stands.
type text struct {
	value string
	node  *yaml.Node
}

func (t text) given() bool { return t.node != nil }

// label reads free text of one to limit bytes.
func (d *decoder) label(to *text, limit int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, textSchema(limit)) {
			return
		}
		switch {
		case n.Kind != yaml.ScalarNode || n.Tag != "!!str":
			d.fail(n, nba.CodeInvalid, "this must be text: put it in quotes")
		case n.Value == "" || len(n.Value) > limit:
			d.fail(n, nba.CodeInvalid, "this must be text of 1 to %d bytes", limit)
		default:
			*to = text{value: n.Value, node: n}
		}
	}
}

const nameRule = "a name begins with a letter and has up to 64 letters, digits, dots, hyphens or underscores"

// name reads an identifier.
func (d *decoder) name(to *text) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, nameSchema()) {
			return
		}
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || !validName(n.Value) {
			d.fail(n, nba.CodeInvalid, "%s", nameRule)
			return
		}
		*to = text{value: n.Value, node: n}
	}
}

func validName(name string) bool {
	if name == "" || len(name) > MaxNameBytes {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c != '_' && c != '-' && c != '.' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}

// code reads a reason code, such as NOT_A_FAMILY.
func (d *decoder) code(to *text) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"type": "string", "pattern": fmt.Sprintf("^[A-Z][A-Z0-9_]{0,%d}$", MaxNameBytes-1)}) {
			return
		}
		valid := n.Kind == yaml.ScalarNode && n.Value != "" && len(n.Value) <= MaxNameBytes && n.Value[0] >= 'A' && n.Value[0] <= 'Z'
		for i := 0; valid && i < len(n.Value); i++ {
			c := n.Value[i]
			valid = c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		}
		if !valid {
			d.fail(n, nba.CodeInvalid, "a code has capital letters, digits and underscores, such as NOT_A_FAMILY")
			return
		}
		*to = text{value: n.Value, node: n}
	}
}

// expression reads the text of a CEL expression; true and false may stand without quotes.
func (d *decoder) expression(to *text) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"type": []string{"string", "boolean"}}) {
			return
		}
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!bool" {
			d.fail(n, nba.CodeInvalid, "this must be an expression: put it in quotes, as in 'subject.tenure > 12'")
			return
		}
		*to = text{value: strings.TrimRight(n.Value, " \n"), node: n}
	}
}

// number is a number of the document; given tells whether it is there.
type number struct {
	value float64
	given bool
}

func (d *decoder) number(to *number, low, high float64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"type": "number", "minimum": low, "maximum": high}) {
			return
		}
		value, ok := parseNumber(n)
		switch {
		case !ok:
			d.fail(n, nba.CodeInvalid, "this must be a number without quotes")
		case !(value >= low && value <= high):
			d.fail(n, nba.CodeInvalid, "this must be between %s and %s", formatNumber(low), formatNumber(high))
		default:
			*to = number{value: value, given: true}
		}
	}
}

func parseNumber(n *yaml.Node) (float64, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" && n.Tag != "!!float" {
		return 0, false
	}
	var value float64
	if err := n.Decode(&value); err != nil || math.IsNaN(value) {
		return 0, false
	}
	return value, true
}

func formatNumber(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func (d *decoder) flag(to *bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"type": "boolean"}) {
			return
		}
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			d.fail(n, nba.CodeInvalid, "this must be true or false")
			return
		}
		*to = strings.EqualFold(n.Value, "true")
	}
}

// moment reads a time: RFC 3339, or a date, which means its beginning in UTC.
func (d *decoder) moment(to **time.Time) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"type": "string", "pattern": `^[0-9]{4}-[0-9]{2}-[0-9]{2}(T.+)?$`}) {
			return
		}
		if n.Kind == yaml.ScalarNode {
			for _, layout := range [...]string{time.RFC3339Nano, time.DateOnly} {
				if t, err := time.Parse(layout, n.Value); err == nil {
					t = t.UTC()
					*to = &t
					return
				}
			}
		}
		d.fail(n, nba.CodeInvalid, "this must be a date such as 2026-11-30 or a time such as 2026-11-30T18:00:00Z")
	}
}

// quote shows what an author wrote, shortened.
func quote(s string) string {
	if len(s) > MaxNameBytes {
		s = s[:MaxNameBytes] + "…"
	}
	return strconv.Quote(s)
}

// near is the known name most like name, or "".
func (d *decoder) near(name string, known []string) string {
	if d.compared += len(known); d.compared > maxCompared || len(name) > MaxNameBytes {
		return ""
	}
	return nba.Nearest(name, known)
}

// suggest is the end of a message about an unknown name.
func (d *decoder) suggest(name string, known []string, otherwise string) string {
	if near := d.near(name, known); near != "" {
		return ": did you mean " + near + "?"
	}
	if len(known) > 0 && len(known) <= 12 {
		return ": there are " + strings.Join(known, ", ")
	}
	return ": " + otherwise
}
