package abi

import "testing"

// TestLoad checks that the vectors are well formed: a vector that expects nothing proves nothing.
func TestLoad(t *testing.T) {
	v, module, err := Load("scorer.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(module) < 8 || string(module[:4]) != "\x00asm" {
		t.Errorf("the conformance module has %d bytes and no magic number", len(module))
	}
	seen := map[string]bool{}
	for _, c := range v.Calls {
		if c.Name == "" || seen[c.Name] {
			t.Errorf("the name %q is empty or repeated", c.Name)
		}
		seen[c.Name] = true
		if c.Refused {
			continue
		}
		if len(c.Subject) != c.SubjectFeatures || len(c.Candidates) != c.Rows || len(c.Scores) != c.Rows {
			t.Errorf("%s: %d subject features, %d candidates, %d scores", c.Name, len(c.Subject), len(c.Candidates), len(c.Scores))
		}
		for _, row := range c.Candidates {
			if len(row) != c.CandidateFeatures {
				t.Errorf("%s: a row has %d features", c.Name, len(row))
			}
		}
	}
	if len(v.Calls) < 10 {
		t.Errorf("only %d calls", len(v.Calls))
	}
	if _, _, err := Load("none.json"); err == nil {
		t.Error("a file that does not exist is loaded")
	}
}

func TestAlign(t *testing.T) {
	for in, want := range map[uint32]uint32{0: 0, 1: 16, 15: 16, 16: 16, 360: 368} {
		if got := Align(in); got != want {
			t.Errorf("Align(%d) = %d, want %d", in, got, want)
		}
	}
}

// TestLoadStrategy checks the vectors of strategies in the same way.
func TestLoadStrategy(t *testing.T) {
	v, module, err := LoadStrategy("strategy.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(module) < 8 || string(module[:4]) != "\x00asm" {
		t.Errorf("the conformance module has %d bytes and no magic number", len(module))
	}
	seen := map[string]bool{}
	var largeInput, largeAnswer bool
	for _, c := range v.Calls {
		if c.Name == "" || seen[c.Name] {
			t.Errorf("the name %q is empty or repeated", c.Name)
		}
		seen[c.Name] = true
		if c.Failed == (len(c.Answer) > 0) || len(c.Input) == 0 {
			t.Errorf("%s: it has no input, or not one of failed and answer", c.Name)
		}
		largeInput, largeAnswer = largeInput || len(c.Input) > StartBytes, largeAnswer || len(c.Answer) > StartBytes
	}
	if len(v.Calls) < 18 || !largeInput || !largeAnswer {
		t.Errorf("only %d calls, or none with a large input (%v) and a large answer (%v)", len(v.Calls), largeInput, largeAnswer)
	}
	if _, _, err := LoadStrategy("none.json"); err == nil {
		t.Error("a file that does not exist is loaded")
	}
}
