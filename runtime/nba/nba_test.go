package nba

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSubjectRefNormalize(t *testing.T) {
	for _, c := range []struct {
		name, id string
		kind     SubjectType
		pointer  string
	}{
		{name: "type defaults to subscriber", id: "S-1"},
		{name: "account", id: "A-1", kind: Account},
		{name: "missing id", pointer: "/subject/id"},
		{name: "longest id", id: strings.Repeat("x", MaxSubjectIDBytes)},
		{name: "too long id", id: strings.Repeat("x", MaxSubjectIDBytes+1), pointer: "/subject/id"},
		{name: "control character", id: "S\x00", pointer: "/subject/id"},
		{name: "not UTF-8", id: "S\xff", pointer: "/subject/id"},
		{name: "unknown type", id: "S-1", kind: "robot", pointer: "/subject/type"},
	} {
		ref, err := SubjectRef{ID: c.id, Type: c.kind}.Normalize()
		if c.pointer == "" {
			if err != nil || ref.Type.Index() < 0 {
				t.Errorf("%s: got %v, %v", c.name, ref.Type, err)
			}
			continue
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != CodeInvalid || len(e.Details) != 1 || e.Details[0].Pointer != c.pointer {
			t.Errorf("%s: got %v, want INVALID at %s", c.name, err, c.pointer)
		}
		if err != nil && c.id != "" && strings.Contains(err.Error(), c.id) {
			t.Errorf("%s: the error repeats the id", c.name)
		}
	}
}

func TestParseValue(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		kind Kind
		text string
		want Value
		bad  bool
	}{
		{kind: KindBool, text: "Yes", want: Bool(true)},
		{kind: KindBool, text: "0", want: Bool(false)},
		{kind: KindBool, text: "FALSE", want: Bool(false)},
		{kind: KindBool, text: "maybe", bad: true},
		{kind: KindBool, text: "", bad: true},
		{kind: KindInt, text: "-12", want: Int(-12)},
		{kind: KindInt, text: "1.5", bad: true},
		{kind: KindInt, text: "9223372036854775808", bad: true},
		{kind: KindFloat, text: "29.85", want: Float(29.85)},
		{kind: KindFloat, text: " ", bad: true},
		{kind: KindFloat, text: "NaN", bad: true},
		{kind: KindFloat, text: "1e999", bad: true},
		{kind: KindString, text: "", want: String("")},
		{kind: KindString, text: strings.Repeat("x", MaxStringBytes+1), bad: true},
		{kind: KindTime, text: "2026-11-22", want: Time(noon.Add(-12 * time.Hour))},
		{kind: KindTime, text: "2026-11-22T13:00:00+01:00", want: Time(noon)},
		{kind: KindTime, text: "22.11.2026", bad: true},
	} {
		got, err := ParseValue(c.kind, c.text)
		if c.bad != (err != nil) || got != c.want {
			t.Errorf("ParseValue(%s, %q) = %#v, %v; want %#v, error %v", c.kind, c.text, got, err, c.want, c.bad)
		}
		if err != nil && len(c.text) > 2 && strings.Contains(err.Error(), c.text) {
			t.Errorf("ParseValue(%s, %q): the error repeats the text: %v", c.kind, c.text, err)
		}
	}
}

func TestDeclare(t *testing.T) {
	empty := NewDictionary()
	d, changed, err := empty.Declare([]AttributeDeclaration{
		{Name: "tenure", Type: KindInt},
		{Name: "contract", Type: KindString, Purposes: []string{PurposeService}},
	})
	if err != nil || !changed {
		t.Fatalf("declaring two attributes: changed %v, %v", changed, err)
	}
	if len(empty.Attributes()) != 0 {
		t.Error("Declare changed its receiver")
	}
	if a, ok := d.Attribute("contract"); !ok || a.ID != 1 || a.PurposeSet.Has(1) || !a.PurposeSet.Has(0) {
		t.Errorf("contract: got %+v", a)
	}
	if same, changed, err := d.Declare([]AttributeDeclaration{{Name: "tenure", Type: KindInt}}); err != nil || changed || same != d {
		t.Errorf("declaring the same again: changed %v, %v", changed, err)
	}

	_, changed, err = d.Declare([]AttributeDeclaration{{Name: "tenure", Type: KindFloat}})
	if CodeOf(err) != CodeConflict || changed {
		t.Errorf("another type: got %v, want CONFLICT", err)
	}
	_, _, err = d.Declare([]AttributeDeclaration{
		{Name: "9lives", Type: KindInt},
		{Name: "x", Type: KindInvalid},
		{Name: "y", Type: KindBool, Purposes: []string{"fun"}},
		{Name: "z", Type: KindBool}, {Name: "z", Type: KindInt},
	})
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != CodeInvalid || len(e.Details) != 4 {
		t.Fatalf("four mistakes: got %v", err)
	}
	for i, pointer := range []string{"/attributes/0/name", "/attributes/1/type", "/attributes/2/purposes", "/attributes/4"} {
		if e.Details[i].Pointer != pointer {
			t.Errorf("mistake %d is at %s, want %s", i, e.Details[i].Pointer, pointer)
		}
	}
}

func TestDictionaryIsBounded(t *testing.T) {
	many := make([]AttributeDeclaration, MaxAttributes+1)
	for i := range many {
		many[i] = AttributeDeclaration{Name: "a" + strings.Repeat("b", i%50) + string(rune('a'+i/50%26)) + string(rune('a'+i/1300)), Type: KindInt}
	}
	d, _, err := NewDictionary().Declare(many)
	if err == nil || len(d.Attributes()) != 0 {
		t.Errorf("%d attributes were accepted", len(d.Attributes()))
	}
}

func TestNearest(t *testing.T) {
	names := []string{"tenure", "contract", "monthlyCharges"}
	for name, want := range map[string]string{"tenur": "tenure", "Contract": "contract", "montlyCharge": "monthlyCharges", "zzz": "", "": ""} {
		if got := Nearest(name, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestErrorSaysWhere(t *testing.T) {
	cause := errors.New("disk")
	if err := Errorf(CodeInternal, "storing: %w", cause); !errors.Is(err, cause) || err.Error() != "storing: disk" {
		t.Errorf("got %v", err)
	}
	err := &Error{Code: CodeCatalogInvalid, Message: "the catalog has mistakes", Details: []Detail{
		{File: "c.yaml", Line: 3, Detail: "unknown key"}, {Line: 9, Detail: "x"}}}
	if got, want := err.Error(), "the catalog has mistakes: c.yaml:3: unknown key (and 1 more)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if CodeOf(nil) != "" || CodeOf(cause) != CodeInternal || CodeOf(err) != CodeCatalogInvalid {
		t.Error("CodeOf")
	}
}
