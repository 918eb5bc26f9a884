package command

import (
	"bytes"
	"errors"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestSections(t *testing.T) {
	var s Sections
	for _, tag := range []SectionTag{20, 3, 1 << 20, 7, 3} {
		s = s.Put(tag, []byte{byte(tag), 1, 2})
	}
	s = s.Put(7, nil)
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	for tag, want := range map[SectionTag][]byte{3: {3, 1, 2}, 7: {}, 20: {20, 1, 2}, 1 << 20: {0, 1, 2}, 1: nil, 21: nil} {
		if got := s.Get(tag); !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("section %d: got %v, want %v", tag, got, want)
		}
	}
	for _, bad := range []Sections{{1}, {1, 2, 3}, {1, 0, 1, 0}, {2, 0, 1, 0}, {0xff, 0xff, 0xff, 0x7f, 0}} {
		if bad.check() == nil {
			t.Errorf("%v are taken for sections", []byte(bad))
		}
	}
}

// TestSectionsTravel: a decision with sections is of version 4, with or without a claim, and carries
// those that this release does not know.
func TestSectionsTravel(t *testing.T) {
	var claim contact.Claim
	claim.Add(1, contact.PlaceOf("web", "Grow", "Plans", "a", nba.Inbound), 60_000, []contact.Limit{{Max: 2, SinceMS: 5}})
	for name, c := range map[string]*contact.Claim{"no claim": nil, "empty claim": new(contact.Claim), "claim": &claim} {
		t.Run(name, func(t *testing.T) {
			d := testDecision()
			d.Claim, d.Keep = c, 7
			d.Effects, d.Kept = Sections(nil).Put(900, []byte("effect")), Sections(nil).Put(901, []byte("kept"))
			op, err := d.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			kind, version := KindOf(op)
			if level, ok := Needs(kind, version); version != sectionedVersion || version != d.Version() || !ok || level != LevelRollouts {
				t.Fatalf("version %d of level %d", version, level)
			}
			var got Recorded
			if err := got.Decode(op[opHeadBytes:], version); err != nil {
				t.Fatal(err)
			}
			if string(got.Effects.Get(900)) != "effect" || got.Claim.Empty() != (c == nil || c.Empty()) {
				t.Error("other effects or another claim arrive")
			}
			r, err := OpenDecision(got.Record)
			for _, ok := r.Next(); ok; _, ok = r.Next() {
			}
			if err != nil || r.Err() != nil || string(r.Sections().Get(901)) != "kept" || string(r.Explanation()) != string(d.Explanation) {
				t.Errorf("another record arrives: %v, %v", err, r.Err())
			}
			for cut := range len(op) - opHeadBytes {
				if got.Decode(op[opHeadBytes:opHeadBytes+cut], version) == nil {
					t.Fatalf("the first %d bytes are taken for the whole", cut)
				}
			}
		})
	}
	d := testDecision()
	d.Kept = Sections{2, 0, 1, 0}
	if _, err := d.Append(nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("sections out of order: got %v", err)
	}
}
