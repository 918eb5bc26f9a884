package importer

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// binding is a mapping, given or canonical, tied to the columns of one body and to a dictionary.
type binding struct {
	columns  []string // names, for results
	id       int      // position in columns
	typ      int      // position in columns, or -1
	subject  nba.SubjectType
	idPrefix string
	targets  []target // attributes, in the order of their ids
	consents []consentTarget
	channels []channelTarget
	granted  nba.PurposeSet // fixed consents
	refused  nba.PurposeSet
}

// target is one attribute and the column it comes from.
type target struct {
	column    int
	attribute nba.AttributeID
	kind      nba.Kind
	blank     rule
	malformed rule
	fallback  nba.Value
	levels    []string        // nil: any
	levelSet  map[string]bool // instead of levels, when they are many
}

type consentTarget struct {
	column  int
	purpose nba.PurposeID
}

// manyLevels is from how many levels a map is faster than a look at each.
const manyLevels = 12

// bindMapping ties m to the columns of a body. The error holds every mistake.
func bindMapping(m *Mapping, columns []string, dict *nba.Dictionary) (*binding, error) {
	p := &bindProblems{file: m.file, columns: columns}
	b := &binding{columns: columns, typ: -1, subject: m.subject, idPrefix: m.idPrefix}
	used := make([]bool, len(columns))
	find := func(c column) int {
		i := slices.Index(columns, c.name)
		if i < 0 {
			p.missing(c)
			return 0
		}
		used[i] = true
		return i
	}
	b.id = find(m.id)
	if m.typ.name != "" {
		b.typ = find(m.typ)
	}
	for _, a := range m.attributes {
		t := target{column: find(a.column), kind: a.kind, blank: a.blank, malformed: a.malformed, fallback: a.fallback, levels: a.levels}
		if len(a.levels) > manyLevels {
			t.levelSet = map[string]bool{}
			for _, level := range a.levels {
				t.levelSet[level] = true
			}
		}
		declared, ok := dict.Attribute(a.name)
		switch {
		case !ok:
			p.add(a.column.line, nba.CodeAttributeUnknown, fmt.Sprintf("attribute %s is not declared: declare it before the import", a.name))
		case declared.Type != a.kind:
			p.add(a.column.line, nba.CodeConflict, fmt.Sprintf("attribute %s is declared as %s: types never change, choose another name", a.name, declared.Type))
		}
		t.attribute = declared.ID
		b.targets = append(b.targets, t)
	}
	b.bindConsents(m, dict, p, find)
	b.bindChannels(m, p, find)
	for _, c := range m.ignore {
		if i := slices.Index(columns, c.name); i >= 0 {
			used[i] = true // an ignored column may be missing
		}
	}
	for i := range columns {
		if !used[i] {
			p.add(0, nba.CodeInvalid, fmt.Sprintf("column %s is not mapped: map it or list it under ignore", columnLabel(columns, m.id.name, i)))
		}
	}
	slices.SortFunc(b.targets, func(x, y target) int { return int(x.attribute) - int(y.attribute) })
	return b, p.err("the mapping does not fit the file")
}

func (b *binding) bindConsents(m *Mapping, dict *nba.Dictionary, p *bindProblems, find func(column) int) {
	for _, c := range m.consents {
		purpose, ok := dict.Purpose(c.purpose)
		switch {
		case !ok:
			p.add(c.line, nba.CodeInvalid, unknownPurpose(dict))
		case c.column.name != "":
			b.consents = append(b.consents, consentTarget{find(c.column), purpose.ID})
		case c.fixed:
			b.granted = b.granted.With(purpose.ID)
		default:
			b.refused = b.refused.With(purpose.ID)
		}
	}
}

func unknownPurpose(dict *nba.Dictionary) string {
	return "unknown purpose: the purposes are " + strings.Join(dict.PurposeNames(), ", ")
}

// The canonical columns that are not attributes.
const (
	columnID      = "id"
	columnType    = "type"
	consentPrefix = "consent:"
)

// bindCanonical ties the canonical columns of a CSV body to a dictionary. Blank values are absent.
func bindCanonical(columns []string, dict *nba.Dictionary) (*binding, error) {
	p := &bindProblems{columns: columns}
	b := &binding{columns: columns, id: -1, typ: -1, subject: nba.DefaultSubjectType}
	for i, name := range columns {
		purposeName, isConsent := strings.CutPrefix(name, consentPrefix)
		channel, isChannel := strings.CutPrefix(name, channelPrefix)
		attribute, isAttribute := dict.Attribute(name)
		switch {
		case name == columnID:
			b.id = i
		case name == columnType:
			b.typ = i
		case isConsent:
			purpose, ok := dict.Purpose(purposeName)
			if !ok {
				p.add(0, nba.CodeInvalid, fmt.Sprintf("column %s: %s", columnLabel(columns, columnID, i), unknownPurpose(dict)))
			}
			b.consents = append(b.consents, consentTarget{i, purpose.ID})
		case isChannel:
			b.bindChannelColumn(p, i, channel)
		case isAttribute:
			b.targets = append(b.targets, target{column: i, attribute: attribute.ID, kind: attribute.Type, blank: ruleAbsent})
		default:
			p.add(0, nba.CodeAttributeUnknown, fmt.Sprintf("column %s is no declared attribute%s: declare it, or import with a mapping",
				columnLabel(columns, columnID, i), didYouMean(dict.Nearest(name))))
		}
	}
	if b.id < 0 {
		p.add(0, nba.CodeInvalid, "column id is missing: the first line must be a header in which the column of the ids is named id; or import with a mapping")
	}
	slices.SortFunc(b.targets, func(x, y target) int { return int(x.attribute) - int(y.attribute) })
	return b, p.err("the header does not fit")
}

// columnLabel names a column in a message: by its position when the header lacks the id column, for
// then the first line may be no header but somebody's data.
func columnLabel(columns []string, id string, i int) string {
	if slices.Contains(columns, id) {
		return columns[i]
	}
	return strconv.Itoa(i + 1)
}

func didYouMean(near string) string {
	if near == "" {
		return ""
	}
	return " (did you mean " + near + "?)"
}

// bindProblems collects what is wrong between a header, a mapping and a dictionary.
type bindProblems struct {
	file    string // of the mapping
	columns []string
	details []nba.Detail
}

func (p *bindProblems) add(line int, code nba.Code, detail string) {
	d := nba.Detail{Line: line, Code: code, Detail: detail}
	if line > 0 {
		d.File = p.file
	}
	p.details = append(p.details, d)
}

func (p *bindProblems) missing(c column) {
	p.add(c.line, nba.CodeInvalid, fmt.Sprintf("the file has no column %s%s", c.name, didYouMean(nba.Nearest(c.name, p.columns))))
}

func (p *bindProblems) err(message string) error {
	if len(p.details) == 0 {
		return nil
	}
	code := p.details[0].Code
	for _, d := range p.details {
		if d.Code != code {
			code = nba.CodeInvalid
		}
	}
	return &nba.Error{Code: code, Message: message, Details: p.details}
}

// record writes one record, whose values stand in the order of b.columns, into the batch. A nil
// value is blank.
func (b *binding) record(values [][]byte, out *batch) *problem {
	out.begin()
	id := values[b.id]
	if isBlank(id) {
		return b.problem(b.id, nba.CodeInvalid, "the subject id is blank")
	}
	if bad := checkID(len(b.idPrefix), id); bad != "" {
		return b.problem(b.id, nba.CodeInvalid, bad)
	}
	out.current.setID(b.idPrefix, id)
	out.current.typ = b.subject
	if b.typ >= 0 && !isBlank(values[b.typ]) {
		t, ok := subjectType(values[b.typ])
		if !ok {
			return b.problem(b.typ, nba.CodeInvalid, badSubjectType)
		}
		out.current.typ = t
	}
	out.current.granted, out.current.refused = b.granted, b.refused
	for i := range b.consents {
		c := &b.consents[i]
		text := bytes.TrimSpace(values[c.column])
		if len(text) == 0 {
			continue // not asked
		}
		v, bad := parseScalar(nba.KindBool, text)
		if bad != "" {
			return b.problem(c.column, nba.CodeInvalid, bad)
		}
		if v.Bool() {
			out.current.granted = out.current.granted.With(c.purpose)
		} else {
			out.current.refused = out.current.refused.With(c.purpose)
		}
	}
	if bad := b.answerChannels(values, out); bad != nil {
		return bad
	}
	for i := range b.targets {
		t := &b.targets[i]
		if bad := t.add(values[t.column], out); bad != "" {
			return b.problem(t.column, nba.CodeInvalid, bad)
		}
	}
	return nil
}

const badSubjectType = "the subject type is not one of subscriber, account, device"

func (b *binding) problem(column int, code nba.Code, reason string) *problem {
	return &problem{column: b.columns[column], code: code, reason: reason}
}

// add appends the attribute with the value text, by the rules. It returns why the line is refused,
// or "".
func (t *target) add(text []byte, out *batch) (bad string) {
	if isBlank(text) {
		switch t.blank {
		case ruleAbsent:
			out.blanks++
		case ruleDefault:
			out.blanks++
			out.current.add(t.attribute, t.fallback)
		default:
			return "the value is blank; the mapping can say blank: absent or blank: default"
		}
		return ""
	}
	if t.kind == nba.KindString {
		bad = t.addString(text, out)
	} else {
		var v nba.Value
		if v, bad = parseScalar(t.kind, bytes.TrimSpace(text)); bad == "" {
			out.current.add(t.attribute, v)
		}
	}
	if bad != "" && t.malformed == ruleAbsent {
		return ""
	}
	return bad
}

func (t *target) addString(text []byte, out *batch) (bad string) {
	switch {
	case t.levelSet != nil:
		if !t.levelSet[string(text)] {
			return unknownLevel
		}
	case t.levels != nil:
		for _, level := range t.levels {
			if string(text) == level {
				out.current.add(t.attribute, nba.String(level))
				return ""
			}
		}
		return unknownLevel
	case len(text) > nba.MaxStringBytes:
		return tooLongString
	}
	out.current.addText(t.attribute, text)
	return ""
}

const unknownLevel = "the value is not one of the levels of the mapping"

var tooLongString = fmt.Sprintf("string longer than %d bytes", nba.MaxStringBytes)

// isBlank tells whether a value is missing or nothing but spaces and tabs.
func isBlank(text []byte) bool {
	for _, c := range text {
		if c != ' ' && c != '\t' {
			return false
		}
	}
	return true
}
