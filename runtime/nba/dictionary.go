package nba

import (
	"fmt"
	"slices"
	"strings"
)

// AttributeID numbers an attribute in the dictionary. Ids are given once, from 0, and never reused.
type AttributeID uint16

// MaxAttributes bounds the dictionary; MaxPurposes is the width of a PurposeSet.
const (
	MaxAttributes        = 4096
	MaxPurposes          = 64
	MaxAttributeNameSize = 64
)

// PurposeID numbers a purpose in the dictionary.
type PurposeID uint8

// PurposeSet is a set of purposes by id.
type PurposeSet uint64

// Has tells whether p is in s.
func (s PurposeSet) Has(p PurposeID) bool { return s&(1<<p) != 0 }

// With is s and p.
func (s PurposeSet) With(p PurposeID) PurposeSet { return s | 1<<p }

// Without is s less p.
func (s PurposeSet) Without(p PurposeID) PurposeSet { return s &^ (1 << p) }

// Purpose is a reason for which personal data is used. A purpose that needs no consent rests on
// another legal basis, such as the contract.
type Purpose struct {
	ID              PurposeID `json:"id"`
	Name            string    `json:"name"`
	ConsentRequired bool      `json:"consentRequired"`
}

// Attribute is one entry of the dictionary. Purposes are those it may be used for at all; whether it
// may be used for one subject is the consent mask's business.
type Attribute struct {
	ID       AttributeID `json:"id"`
	Name     string      `json:"name"`
	Type     Kind        `json:"type"`
	Purposes []string    `json:"purposes"`

	PurposeSet PurposeSet `json:"-"`
}

// Dictionary maps attribute and purpose names to ids and types. It only ever grows: ids, names and
// types never change, so a record or a compiled policy stays readable under every later dictionary.
// A Dictionary is immutable and safe for concurrent use; Declare returns a new one.
type Dictionary struct {
	attributes []Attribute
	purposes   []Purpose
	byName     map[string]AttributeID
	purposeBy  map[string]PurposeID
	needless   PurposeSet // purposes that need no consent
}

// AttributeDeclaration asks for an attribute by name. Purposes that are empty mean
// DefaultPurposes.
type AttributeDeclaration struct {
	Name     string   `json:"name" yaml:"name"`
	Type     Kind     `json:"type" yaml:"type"`
	Purposes []string `json:"purposes,omitempty" yaml:"purposes,omitempty"`
}

// The purposes every dictionary starts with. Service rests on the contract and needs no consent.
const (
	PurposeService   = "service"
	PurposeMarketing = "marketing"
	PurposeProfiling = "profiling"
)

// DefaultPurposes apply to an attribute that is declared without any.
var DefaultPurposes = []string{PurposeService, PurposeMarketing, PurposeProfiling}

// NewDictionary is a dictionary with the three built-in purposes and no attributes.
func NewDictionary() *Dictionary {
	d, err := RestoreDictionary([]Purpose{
		{ID: 0, Name: PurposeService},
		{ID: 1, Name: PurposeMarketing, ConsentRequired: true},
		{ID: 2, Name: PurposeProfiling, ConsentRequired: true},
	}, nil)
	if err != nil {
		panic(err) // a bug of ours: the built-in dictionary is valid
	}
	return d
}

// RestoreDictionary rebuilds a dictionary from its stored parts, whose ids must be their positions.
func RestoreDictionary(purposes []Purpose, attributes []Attribute) (*Dictionary, error) {
	d := &Dictionary{
		purposes: slices.Clone(purposes), attributes: slices.Clone(attributes),
		byName: make(map[string]AttributeID, len(attributes)), purposeBy: make(map[string]PurposeID, len(purposes)),
	}
	for i, p := range d.purposes {
		if int(p.ID) != i || i >= MaxPurposes {
			return nil, fmt.Errorf("purpose %q: id %d at position %d", p.Name, p.ID, i)
		}
		d.purposeBy[p.Name] = p.ID
		if !p.ConsentRequired {
			d.needless = d.needless.With(p.ID)
		}
	}
	for i := range d.attributes {
		a := &d.attributes[i]
		if int(a.ID) != i {
			return nil, fmt.Errorf("attribute %q: id %d at position %d", a.Name, a.ID, i)
		}
		set, err := d.purposeSet(a.Purposes)
		if err != nil {
			return nil, fmt.Errorf("attribute %q: %w", a.Name, err)
		}
		a.PurposeSet = set
		d.byName[a.Name] = a.ID
	}
	return d, nil
}

// Declare returns a dictionary that also holds the declared attributes. Declaring an attribute again
// with the same type and purposes changes nothing; with another type or purposes it is an *Error
// with CodeConflict. changed tells whether the result differs from d. All mistakes are reported at
// once, with pointers such as /attributes/3/name.
func (d *Dictionary) Declare(declarations []AttributeDeclaration) (next *Dictionary, changed bool, err error) {
	var problems []Detail
	attributes := slices.Clone(d.attributes)
	seen := map[string]int{}
	for i, decl := range declarations {
		at := fmt.Sprintf("/attributes/%d", i)
		purposes := decl.Purposes
		if len(purposes) == 0 {
			purposes = DefaultPurposes
		}
		set, perr := d.purposeSet(purposes)
		switch {
		case !validName(decl.Name):
			problems = append(problems, Detail{Pointer: at + "/name", Code: CodeInvalid,
				Detail: "an attribute name is a letter followed by at most 63 letters, digits or underscores"})
			continue
		case decl.Type == KindInvalid || int(decl.Type) >= len(kindNames):
			problems = append(problems, Detail{Pointer: at + "/type", Code: CodeInvalid,
				Detail: "an attribute type is one of bool, int, float, string, time"})
			continue
		case perr != nil:
			problems = append(problems, Detail{Pointer: at + "/purposes", Code: CodeInvalid, Detail: perr.Error()})
			continue
		}
		if known, ok := d.byName[decl.Name]; ok {
			seen[decl.Name] = int(known)
		}
		if pos, ok := seen[decl.Name]; ok {
			if a := attributes[pos]; a.Type != decl.Type || a.PurposeSet != set {
				problems = append(problems, Detail{Pointer: at, Code: CodeConflict, Detail: fmt.Sprintf(
					"attribute %s is already declared as %s for %s: types and purposes never change; choose another name",
					a.Name, a.Type, strings.Join(a.Purposes, ", "))})
			}
			continue
		}
		if len(attributes) == MaxAttributes {
			problems = append(problems, Detail{Pointer: at, Code: CodeTooLarge,
				Detail: fmt.Sprintf("the dictionary is full: at most %d attributes", MaxAttributes)})
			break
		}
		seen[decl.Name] = len(attributes)
		attributes = append(attributes, Attribute{ID: AttributeID(len(attributes)), Name: decl.Name,
			Type: decl.Type, Purposes: slices.Clone(purposes), PurposeSet: set})
	}
	if len(problems) > 0 {
		code := CodeInvalid
		if !slices.ContainsFunc(problems, func(p Detail) bool { return p.Code != CodeConflict }) {
			code = CodeConflict
		}
		return d, false, &Error{Code: code, Message: "the attribute declarations were not accepted", Details: problems}
	}
	if len(attributes) == len(d.attributes) {
		return d, false, nil
	}
	next, err = RestoreDictionary(d.purposes, attributes)
	return next, true, err
}

func (d *Dictionary) purposeSet(names []string) (PurposeSet, error) {
	var set PurposeSet
	for _, name := range names {
		id, ok := d.purposeBy[name]
		if !ok {
			return 0, fmt.Errorf("unknown purpose: the purposes are %s", strings.Join(d.PurposeNames(), ", "))
		}
		set = set.With(id)
	}
	return set, nil
}

func validName(name string) bool {
	if name == "" || len(name) > MaxAttributeNameSize {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}

// Attribute looks an attribute up by name.
func (d *Dictionary) Attribute(name string) (Attribute, bool) {
	id, ok := d.byName[name]
	if !ok {
		return Attribute{}, false
	}
	return d.attributes[id], true
}

// AttributeByID looks an attribute up by id.
func (d *Dictionary) AttributeByID(id AttributeID) (Attribute, bool) {
	if int(id) >= len(d.attributes) {
		return Attribute{}, false
	}
	return d.attributes[id], true
}

// Attributes are all attributes in the order of their ids. The caller must not change them.
func (d *Dictionary) Attributes() []Attribute { return d.attributes }

// Purposes are all purposes in the order of their ids. The caller must not change them.
func (d *Dictionary) Purposes() []Purpose { return d.purposes }

// PurposeNames are the names of all purposes in the order of their ids.
func (d *Dictionary) PurposeNames() []string {
	names := make([]string, len(d.purposes))
	for i, p := range d.purposes {
		names[i] = p.Name
	}
	return names
}

// Purpose looks a purpose up by name.
func (d *Dictionary) Purpose(name string) (Purpose, bool) {
	id, ok := d.purposeBy[name]
	if !ok {
		return Purpose{}, false
	}
	return d.purposes[id], true
}

// WithoutConsent are the purposes that need no consent.
func (d *Dictionary) WithoutConsent() PurposeSet { return d.needless }

// Nearest is the attribute name most like name, or "" when none is near: for messages.
func (d *Dictionary) Nearest(name string) string {
	names := make([]string, len(d.attributes))
	for i := range d.attributes {
		names[i] = d.attributes[i].Name
	}
	return Nearest(name, names)
}

// Nearest is the candidate with the smallest edit distance to name, ignoring case, or "" when even
// that one differs in more than a third of its letters.
func Nearest(name string, candidates []string) string {
	best, bestDistance := "", len(name)/3+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(name), strings.ToLower(c)); d <= bestDistance && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitution := diagonal
			if a[i-1] != b[j-1] {
				substitution++
			}
			diagonal = row[j]
			row[j] = min(substitution, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
