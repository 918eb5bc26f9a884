package command

import (
	"bytes"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func moveOp() *MoveJourney {
	def := journey.Definition{Name: "cart", Instances: 1, Stages: []journey.Stage{{Name: "open"}, {Name: "bought", Final: true}}}
	return &MoveJourney{Subject: nba.SubjectRef{ID: "S-1", Type: nba.Subscriber}, Effect: journey.Effect{
		Digest: [16]byte{1}, Definition: def.Append(nil), Key: "K", Cause: journey.CausePerson, Detail: "paid",
		Rules: []journey.Rule{{Kind: journey.Jump, From: journey.AnyStage, To: 1}}}}
}

func TestMoveJourney(t *testing.T) {
	want := moveOp()
	var got MoveJourney
	if err := got.Decode(body(t, want, JourneyMoved)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Key, AppendSubjectKey(nil, want.Subject)) || got.Effect.Key != "K" || got.Effect.Rules[0] != want.Effect.Rules[0] || !bytes.Equal(got.Effect.Definition, want.Effect.Definition) {
		t.Errorf("got %+v", got)
	}
	if level, ok := Needs(JourneyMoved, 1); !ok || level != LevelEvents {
		t.Errorf("it needs level %d, %v", level, ok)
	}
	want.Effect.Detail = strings.Repeat("x", journey.MaxTextBytes+1)
	if _, err := want.Append(nil); err == nil {
		t.Error("a reason that is too long gets into the log")
	}
	want = moveOp()
	want.Effect.Definition = []byte("none")
	if _, err := want.Append(nil); err == nil {
		t.Error("what is no definition gets into the log")
	}
}

// TestResponseWithEffects: a response that moves journeys is of version 2, which needs level 5.
func TestResponseWithEffects(t *testing.T) {
	want := Response{DecisionID: testID, Action: "fiber", Outcome: nba.Converted, Value: 2}
	want.Effects = want.Effects.Put(EffectJourneys, journey.AppendEffects(nil, []journey.Effect{moveOp().Effect}))
	op, err := want.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	kind, version := KindOf(op)
	if level, ok := Needs(kind, version); kind != ResponseRecorded || version != 2 || !ok || level != LevelEvents {
		t.Errorf("kind %d, version %d, level %d", kind, version, level)
	}
	var got Responded
	if err := got.Decode(op[opHeadBytes:], version); err != nil || got.Effects.Get(EffectJourneys) == nil || got.Action != "fiber" {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := got.Decode(op[opHeadBytes:], 1); err == nil {
		t.Error("version 1 reads what is of version 2")
	}
}

func FuzzMoveJourney(f *testing.F) {
	op, err := moveOp().Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(op[opHeadBytes:])
	f.Fuzz(func(t *testing.T, b []byte) {
		var m MoveJourney
		if m.Decode(b) != nil {
			return
		}
		var ok bool
		if m.Subject, ok = ParseSubjectKey(m.Key); !ok {
			t.Fatal("a decoded subject key is none")
		}
		again, err := m.Append(nil)
		if err != nil || !bytes.Equal(again[opHeadBytes:], b) {
			t.Fatalf("the bytes %x are not those of what they decode to: %v", b, err)
		}
	})
}
