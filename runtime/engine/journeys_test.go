package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// standing is a subject that tells where it stands, and counts how often it is asked.
type standing struct {
	testSubject
	state []byte
	err   error
	asked int
}

// JourneyBytes implements journey.Holder.
func (s *standing) JourneyBytes() ([]byte, error) {
	s.asked++
	return s.state, s.err
}

const journeyDocument = `apiVersion: arbiter/v1
kind: Catalog
name: journeys
channels: [{name: web, placements: [a, b]}]
issues: [{name: Sell, groups: [{name: Cart}]}]
actions:
  - {name: help, issue: Sell, group: Cart, purpose: service, value: 'journey("cart").open ? journey("cart").data.value : 1.0', treatments: [{name: t, channel: web}],
     applicability: [{when: 'journey("cart").stage == "open"'}], suitability: [{when: 'journey("cart").last != "bought"'}]}
  - {name: hello, issue: Sell, group: Cart, purpose: service, value: 1, treatments: [{name: t, channel: web}]}
fallback: {action: hello}
journeys:
  - {name: cart, data: {value: event.data.value}, enter: [{on: a.cart}], stages: [{name: open}, {name: bought, final: true}], exit: [{on: a.buy, to: bought}]}
`

func decideStanding(t *testing.T, subject nba.Subject, reads *Reads) nba.Decision {
	t.Helper()
	dictionary := nba.NewDictionary()
	c, err := catalog.Compile([]byte(journeyDocument), "journeys", catalog.Env{Dictionary: dictionary})
	if err != nil {
		t.Fatal(err)
	}
	req := &nba.DecisionRequest{Subject: subject.Ref(), Channel: "web"}
	if err := ValidateRequest(req, c); err != nil {
		t.Fatal(err)
	}
	var out nba.Decision
	in := Input{Subject: subject, Dictionary: dictionary, Catalog: c, Request: req, DecisionID: "d", Now: time.UnixMilli(1_800_000_000_000), Reads: reads}
	if err := New(Options{}).Decide(context.Background(), in, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func topOf(d *nba.Decision) (action string, value float64) {
	item := d.Propositions[0].Items[0]
	return item.Action, item.Value
}

// TestDecisionReadsJourneys: where the subject stands is read once, noted without its moves, and what was noted
// makes the same decision.
func TestDecisionReadsJourneys(t *testing.T) {
	state := journey.State{Next: 1,
		Open:  []journey.Instance{{Journey: "cart", Stage: "open", Number: 1, Data: []journey.Field{{Name: "value", Value: journey.Value{Kind: journey.Number, Int: 99_500_000}}}}},
		Moves: []journey.Moved{{Journey: "cart", To: "open", Cause: journey.CauseEvent}}}
	reads := new(Reads)
	reads.Record()
	in := &standing{state: state.Append(nil)}
	made := decideStanding(t, in, reads)
	if action, value := topOf(&made); action != "help" || value != 99.5 || in.asked != 1 {
		t.Errorf("got %s worth %v, asked %d times", action, value, in.asked)
	}
	noted, asked := reads.Journeys()
	var kept journey.State
	if err := kept.Decode(noted); err != nil || !asked || len(kept.Moves) != 0 || len(kept.Open) != 1 {
		t.Fatalf("noted %+v, %v", kept, err)
	}
	again := new(Reads)
	again.Play(reads.Recorded())
	replayed := decideStanding(t, &standing{state: noted}, again)
	if action, value := topOf(&replayed); action != "help" || value != 99.5 || again.Strayed() != nil {
		t.Errorf("made again: %s worth %v, %v", action, value, again.Strayed())
	}
	// The next decision forgets it.
	reads.Record()
	if _, asked := reads.Journeys(); asked {
		t.Error("what was noted stays for the next decision")
	}
}

// TestDecisionWithoutJourneys: who is in none, and who cannot tell, are not the same.
func TestDecisionWithoutJourneys(t *testing.T) {
	for name, subject := range map[string]nba.Subject{
		"in none": &standing{}, "cannot tell": &standing{err: errors.New("gone")}, "nothing to tell": &testSubject{}, "broken": &standing{state: []byte{9}},
	} {
		reads := new(Reads)
		reads.Record()
		d := decideStanding(t, subject, reads)
		if action, _ := topOf(&d); action != "hello" {
			t.Errorf("%s: got %s", name, action)
		}
		if noted, asked := reads.Journeys(); asked != (name == "in none") || len(noted) != 0 {
			t.Errorf("%s: noted %x, %v", name, noted, asked)
		}
	}
}
