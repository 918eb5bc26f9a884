package journey

import (
	"bytes"
	"testing"
)

func sampleDefinition() *Definition {
	return &Definition{Name: "cart", Instances: 2, Replace: true, AgainMS: 3_600_000, Stages: []Stage{
		{Name: "open", TimeoutMS: 7_200_000, To: 1}, {Name: "abandoned", Emits: true, WithinMS: 1000, TimeoutMS: 5, To: 2}, {Name: "done", Final: true},
	}}
}

func sampleEffects() []Effect {
	def := sampleDefinition().Append(nil)
	return []Effect{
		{Digest: [DigestBytes]byte{1, 2}, Definition: def, Key: "K-1", Cause: CauseEvent, Detail: "cart.updated",
			Rules: []Rule{{Kind: Move, From: 0, To: 1}, {Kind: Exit, From: AnyStage, To: 2}, {Kind: Enter, From: None}},
			Data:  []Field{{Name: "shop", Value: Value{Kind: Text, Text: "web"}}, {Name: "value", Value: Value{Kind: Number, Int: -1_500_000}}}},
		{Definition: def, Every: true, Cause: CausePerson, Rules: []Rule{{Kind: Jump, From: AnyStage, To: 1}}},
	}
}

func sampleState() *State {
	s, def := &State{}, sampleDefinition()
	for i, e := range sampleEffects() {
		s.Apply(&e, def, func([DigestBytes]byte) *Definition { return def }, Times{EventMS: int64(1000 * (i + 1)), NowMS: 1 << 40})
	}
	return s
}

// FuzzState: bytes that decode are the bytes of what they decode to, and what they decode to can go on.
func FuzzState(f *testing.F) {
	f.Add(sampleState().Append(nil))
	f.Add([]byte{})
	f.Add([]byte{stateFormat, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s State
		if s.Decode(b) != nil || len(b) == 0 {
			return
		}
		if !bytes.Equal(s.Append(nil), b) {
			t.Fatalf("the bytes %x are not those of what they decode to", b)
		}
		before := len(s.Open)
		def := sampleDefinition()
		for _, e := range sampleEffects() {
			s.Apply(&e, def, func([DigestBytes]byte) *Definition { return def }, Times{EventMS: 1 << 41, NowMS: 1 << 41})
		}
		if len(s.Open) > max(before, MaxOpen) || len(s.Moves) > MaxMoves || len(s.Ended) > MaxEffects {
			t.Fatalf("%d open instances, %d moves, %d ends: more than may be", len(s.Open), len(s.Moves), len(s.Ended))
		}
		if _, open := s.Of(def.Name); open > max(before, def.Instances) {
			t.Fatalf("%d instances are open, %d are declared", open, def.Instances)
		}
		next := s.Append(nil)
		var back State
		if err := back.Decode(next); err != nil {
			t.Fatalf("the state after an effect cannot be read: %v", err)
		}
	})
}

// FuzzEffects and FuzzDefinition: bytes that decode are the bytes of what they decode to.
func FuzzEffects(f *testing.F) {
	f.Add(AppendEffects(nil, sampleEffects()))
	f.Add(AppendEffects(nil, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		effects, err := DecodeEffects(b, nil)
		if err == nil && !bytes.Equal(AppendEffects(nil, effects), b) {
			t.Fatalf("the bytes %x are not those of what they decode to", b)
		}
	})
}

func FuzzDefinition(f *testing.F) {
	f.Add(sampleDefinition().Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Definition
		if d.Decode(b) == nil && !bytes.Equal(d.Append(nil), b) {
			t.Fatalf("the bytes %x are not those of what they decode to", b)
		}
	})
}

// TestFit: a state that is too large forgets its moves first.
func TestFit(t *testing.T) {
	s := sampleState()
	long := string(bytes.Repeat([]byte("x"), MaxTextBytes))
	for i := range s.Open {
		for j := range MaxFields {
			s.Open[i].Data = append(s.Open[i].Data, Field{Name: string(rune('a'+j)) + "1", Value: Value{Kind: Text, Text: long}})
		}
	}
	if _, ok := s.Fit(nil); !ok || len(s.Moves) == 0 {
		t.Fatal("what fits was changed")
	}
	for len(s.Open) < 7 {
		s.Open = append(s.Open, s.Open[0])
	}
	for len(s.Moves) < MaxMoves {
		s.Moves = append(s.Moves, Moved{Journey: "cart", Key: long[:64], From: long[:64], To: long[:64], Cause: CauseEvent, Detail: long})
	}
	if b, ok := s.Fit(nil); !ok || len(s.Moves) != 0 || len(b) > MaxStateBytes {
		t.Fatalf("%d bytes, %d moves: the moves go first", len(b), len(s.Moves))
	}
	for len(s.Open) < MaxOpen {
		s.Open = append(s.Open, s.Open[0])
	}
	if _, ok := s.Fit(nil); ok {
		t.Fatal("a state of twice the limit fits")
	}
}

// TestNumbers: numbers are exact to a millionth, whatever the processor.
func TestNumbers(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 199.9: "199.9", -0.000001: "-0.000001", 12: "12", 1e9: "1000000000", 0.1 + 0.2: "0.3"} {
		v, ok := NumberOf(f)
		if got := string(v.AppendText(nil)); !ok || got != want {
			t.Errorf("%v is %q, want %q", f, got, want)
		}
	}
	if _, ok := NumberOf(1e12); ok {
		t.Error("a number with too many digits is taken")
	}
}
