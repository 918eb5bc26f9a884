package importer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"go.yaml.in/yaml/v3"
)

// Mapping tells which column of a file becomes which attribute, and what to do with blank and
// malformed values. It is immutable; ParseMapping makes it.
type Mapping struct {
	file       string
	format     string // may be empty
	delimiter  byte   // of CSV
	id         column
	idPrefix   string
	subject    nba.SubjectType // used when typ names no column
	typ        column
	attributes []mappedAttribute
	consents   []mappedConsent
	channels   []mappedConsent // by name of the channel
	ignore     []column
	merge      bool // what the file does not name of a subject stays
}

// column is a column name and the line of the mapping that speaks of it.
type column struct {
	name string
	line int
}

type mappedAttribute struct {
	column    column
	name      string
	kind      nba.Kind
	purposes  []string
	blank     rule
	malformed rule
	fallback  nba.Value // for ruleDefault
	levels    []string  // nil: any
}

type mappedConsent struct {
	purpose string
	line    int
	column  column // empty name: fixed
	fixed   bool
}

// rule is what to do with a blank or malformed value.
type rule uint8

const (
	ruleReject rule = iota // the line
	ruleAbsent             // the subject has no such attribute
	ruleDefault
)

// MaxMappingBytes bounds a mapping file.
const MaxMappingBytes = 1 << 20

// Format is the format the mapping names, or "".
func (m *Mapping) Format() string { return m.format }

// Declarations are the attributes the mapping needs, for nba.Dictionary.Declare.
func (m *Mapping) Declarations() []nba.AttributeDeclaration {
	declarations := make([]nba.AttributeDeclaration, len(m.attributes))
	for i, a := range m.attributes {
		declarations[i] = nba.AttributeDeclaration{Name: a.name, Type: a.kind, Purposes: slices.Clone(a.purposes)}
	}
	return declarations
}

// ParseMapping reads a mapping file, which docs/import.md describes. file is its name for messages.
// The error is an *nba.Error whose Details hold every mistake with file, line and column; unknown
// and repeated keys are mistakes.
func ParseMapping(document []byte, file string) (*Mapping, error) {
	if len(document) > MaxMappingBytes {
		return nil, nba.Errorf(nba.CodeTooLarge, "the mapping is larger than %d bytes", MaxMappingBytes)
	}
	y := &yamlReader{file: file}
	m := &Mapping{file: file, delimiter: ',', subject: nba.DefaultSubjectType}
	if root := y.document(document); root != nil {
		fields := y.fields(root, "format", "delimiter", "subject", "attributes", "consents", channelConsents, "ignore", "onDuplicate", "onExisting")
		m.parse(y, root, fields)
		m.check(y, root)
	}
	if err := y.err(); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Mapping) parse(y *yamlReader, root *yaml.Node, fields map[string]*yaml.Node) {
	if n := fields["format"]; n != nil {
		m.format = y.oneOf(n, "format", FormatCSV, FormatNDJSON)
	}
	if n := fields["delimiter"]; n != nil {
		if text := y.text(n, "delimiter"); len(text) == 1 && strings.Contains(delimiters, text) {
			m.delimiter = text[0]
		} else {
			y.problem(n, "delimiter is one of a comma, a semicolon, a tab (written \"\\t\") or a bar")
		}
	}
	if n := fields["onDuplicate"]; n != nil {
		y.oneOf(n, "onDuplicate", "last")
	}
	if n := fields["onExisting"]; n != nil {
		m.merge = y.oneOf(n, "onExisting", "replace", "merge") == "merge"
	}
	if n := fields["subject"]; n != nil {
		m.parseSubject(y, n)
	} else {
		y.problem(root, "subject is missing: say which column holds the id, such as subject: {id: customerID}")
	}
	for _, n := range y.list(fields["attributes"], "attributes") {
		m.attributes = append(m.attributes, y.attribute(n))
	}
	if n := fields["consents"]; n != nil {
		y.each(n, "consents", func(key, value *yaml.Node) {
			m.consents = append(m.consents, y.consent(key, value))
		})
	}
	if n := fields[channelConsents]; n != nil {
		y.each(n, channelConsents, func(key, value *yaml.Node) {
			m.channels = append(m.channels, y.consent(key, value))
		})
	}
	for _, n := range y.list(fields["ignore"], "ignore") {
		m.ignore = append(m.ignore, column{y.text(n, "an ignored column"), n.Line})
	}
}

const delimiters = ",;\t|"

func (m *Mapping) parseSubject(y *yamlReader, node *yaml.Node) {
	fields := y.fields(node, "id", "idPrefix", "type")
	if n := fields["id"]; n != nil {
		m.id = column{y.text(n, "subject.id"), n.Line}
	} else {
		y.problem(node, "subject.id is missing: name the column that holds the id")
	}
	if n := fields["idPrefix"]; n != nil {
		m.idPrefix = y.text(n, "subject.idPrefix")
		if _, err := (nba.SubjectRef{ID: m.idPrefix + "x"}).Normalize(); err != nil {
			y.problem(n, "subject.idPrefix cannot begin a subject id: at most 127 bytes without control characters")
		}
	}
	n := fields["type"]
	switch {
	case n == nil:
	case n.Kind == yaml.MappingNode:
		if c := y.fields(n, "column")["column"]; c != nil {
			m.typ = column{y.text(c, "subject.type.column"), c.Line}
		}
	default:
		m.subject = nba.SubjectType(y.oneOf(n, "subject.type", subjectTypes()...))
	}
}

func subjectTypes() []string {
	names := make([]string, len(nba.SubjectTypes))
	for i, t := range nba.SubjectTypes {
		names[i] = string(t)
	}
	return names
}

// attribute reads one entry of attributes.
func (y *yamlReader) attribute(node *yaml.Node) (a mappedAttribute) {
	fields := y.fields(node, "name", "column", "type", "purposes", "blank", "default", "levels", "malformed")
	if n := fields["name"]; n != nil {
		a.name = y.text(n, "name")
	} else if node.Kind == yaml.MappingNode {
		y.problem(node, "name is missing")
	}
	a.column = column{a.name, node.Line}
	if n := fields["column"]; n != nil {
		a.column = column{y.text(n, "column"), n.Line}
	}
	if n := fields["type"]; n != nil {
		a.kind, _ = nba.ParseKind(y.oneOf(n, "type", "bool", "int", "float", "string", "time"))
	} else if node.Kind == yaml.MappingNode {
		y.problem(node, "type is missing: one of bool, int, float, string, time")
	}
	for _, n := range y.list(fields["purposes"], "purposes") {
		a.purposes = append(a.purposes, y.text(n, "a purpose"))
	}
	y.levels(&a, fields["levels"])
	y.rules(&a, fields)
	return a
}

func (y *yamlReader) levels(a *mappedAttribute, node *yaml.Node) {
	if node == nil {
		return
	}
	if a.kind != nba.KindString && a.kind != nba.KindInvalid {
		y.problem(node, "levels are for attributes of type string")
	}
	for _, n := range y.list(node, "levels") {
		level := y.text(n, "a level")
		switch {
		case slices.Contains(a.levels, level):
			y.problem(n, "the level occurs twice")
		case len(level) > nba.MaxStringBytes:
			y.problem(n, fmt.Sprintf("the level is longer than %d bytes", nba.MaxStringBytes))
		}
		a.levels = append(a.levels, level)
	}
	if len(a.levels) == 0 {
		y.problem(node, "levels is empty: leave it out to allow any value")
	}
}

func (y *yamlReader) rules(a *mappedAttribute, fields map[string]*yaml.Node) {
	if n := fields["malformed"]; n != nil && y.oneOf(n, "malformed", "reject", "absent") == "absent" {
		a.malformed = ruleAbsent
	}
	fallback := fields["default"]
	if fallback != nil {
		a.blank = ruleDefault
	}
	if n := fields["blank"]; n != nil {
		switch y.oneOf(n, "blank", "reject", "absent", "default") {
		case "reject":
			a.blank = ruleReject
		case "absent":
			a.blank = ruleAbsent
		case "default":
			a.blank = ruleDefault
			if fallback == nil {
				y.problem(n, "blank: default needs a default")
			}
		}
		if fallback != nil && a.blank != ruleDefault {
			y.problem(fallback, "default is used with blank: default only")
		}
	}
	if fallback == nil || a.kind == nba.KindInvalid {
		return
	}
	text := y.text(fallback, "default")
	v, err := nba.ParseValue(a.kind, text)
	switch {
	case err != nil:
		y.problem(fallback, "default: "+err.Error())
	case a.levels != nil && !slices.Contains(a.levels, text):
		y.problem(fallback, "default is not one of the levels")
	}
	a.fallback = v
}

// consent reads one entry of consents.
func (y *yamlReader) consent(key, value *yaml.Node) mappedConsent {
	c := mappedConsent{purpose: y.text(key, "a purpose or a channel"), line: key.Line}
	if value.Kind == yaml.MappingNode {
		if n := y.fields(value, "column")["column"]; n != nil {
			c.column = column{y.text(n, "column"), n.Line}
		} else {
			y.problem(value, "column is missing: name the column that holds the consent")
		}
		return c
	}
	c.fixed = y.oneOf(value, "a consent", "true", "false") == "true"
	return c
}

// check finds the mistakes that lie between the parts.
func (m *Mapping) check(y *yamlReader, root *yaml.Node) {
	used := map[string]bool{m.id.name: true, m.typ.name: true}
	for _, c := range m.consents {
		used[c.column.name] = true
	}
	for _, c := range m.channels {
		used[c.column.name] = true
	}
	names := map[string]bool{}
	for _, a := range m.attributes {
		used[a.column.name] = true
		if a.name != "" && names[a.name] {
			y.problemAt(a.column.line, "the attribute is mapped twice: each attribute comes from one column")
		}
		names[a.name] = true
	}
	delete(used, "")
	for _, c := range m.ignore {
		if used[c.name] {
			y.problemAt(c.line, "the column is mapped and ignored at once")
		}
	}
	if len(m.attributes) > nba.MaxAttributes {
		y.problem(root, fmt.Sprintf("more than %d attributes", nba.MaxAttributes))
		return
	}
	m.checkNames(y)
}

// checkNames lets the dictionary judge names, which knows its own rules. Purposes are judged when
// the attributes are declared: only the cluster's dictionary knows them.
func (m *Mapping) checkNames(y *yamlReader) {
	for _, a := range m.attributes {
		if a.name == "" {
			continue
		}
		declaration := []nba.AttributeDeclaration{{Name: a.name, Type: nba.KindBool}}
		if _, _, err := nba.NewDictionary().Declare(declaration); err != nil {
			y.problemAt(a.column.line, "the name is not an attribute name: a letter followed by at most 63 letters, digits or underscores")
		}
	}
}
