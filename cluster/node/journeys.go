package node

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// methodJourneys asks where a subject stands.
const methodJourneys router.Method = 70

// Journeys is where a subject stands in its journeys; read is as for Subject.
func (n *Node) Journeys(ctx context.Context, ref nba.SubjectRef, read *nba.Read) (out nba.SubjectJourneys, err error) {
	if ref, err = n.admit(ctx, ref); err != nil {
		return out, err
	}
	want, err := normalize(read)
	if err != nil {
		return out, err
	}
	err = n.router.AtReader(ctx, router.Slot(ref), want, func() (err error) {
		var age time.Duration
		out, age, err = n.router.Journeys(ctx, ref, want)
		answered(read, age)
		return err
	}, func(node string) (err error) {
		out, err = n.journeysFrom(ctx, node, ref, want, read)
		return err
	})
	n.labelJourneys(&out)
	return out, err
}

// journeysPage is where a subject stands, on its way.
type journeysPage struct {
	Journeys nba.SubjectJourneys `json:"journeys"`
	Age      time.Duration       `json:"age"`
}

// journeysFrom reads where a subject stands on another node.
func (n *Node) journeysFrom(ctx context.Context, node string, ref nba.SubjectRef, want nba.Read, read *nba.Read) (out nba.SubjectJourneys, err error) {
	var p packer
	p.read(ref, want)
	u, err := n.ask(ctx, node, methodJourneys, p.b)
	if err != nil {
		return out, err
	}
	var page journeysPage
	if err := json.Unmarshal([]byte(u.text()), &page); err != nil || u.bad {
		return out, errWire
	}
	answered(read, page.Age)
	return page.Journeys, nil
}

// serveJourneys reads where a subject stands for another node.
func (n *Node) serveJourneys(ctx context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	ref, want := u.read()
	if err := u.err(); err != nil {
		return nil, err
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	var page journeysPage
	var err error
	page.Journeys, page.Age, err = n.router.Journeys(ctx, ref, want)
	return answer(err, func(p *packer) error {
		encoded, err := json.Marshal(page)
		p.text(string(encoded))
		return err
	})
}

// labelJourneys adds what the active catalog calls things.
func (n *Node) labelJourneys(out *nba.SubjectJourneys) {
	v := n.acquire()
	defer v.release()
	active, err := v.activeCatalog()
	if err != nil {
		return // without a catalog there are no labels
	}
	for i := range out.Journeys {
		in := &out.Journeys[i]
		j, ok := active.Journey(in.Journey)
		if !ok {
			continue
		}
		in.Label = j.Label
		if at, ok := j.Stage(in.Stage); ok {
			in.StageLabel = j.Stages[at].Label
		}
	}
}

// MoveJourney brings a subject into a stage of a journey of the active catalog. Asked for again it changes
// nothing. The errors have CodeSubjectUnknown, CodeInvalid and CodeConflict.
func (n *Node) MoveJourney(ctx context.Context, ref nba.SubjectRef, req nba.JourneyRequest) (out nba.JourneyMoved, err error) {
	if ref, err = n.admit(ctx, ref); err != nil {
		return out, err
	}
	effect, err := n.journeyEffect(&req)
	if err != nil {
		return out, err
	}
	result, err := n.router.MoveJourney(ctx, &command.MoveJourney{Subject: ref, Effect: effect})
	if err != nil {
		return out, err
	}
	out = nba.JourneyMoved{SubjectRef: ref, Journey: req.Journey, Key: req.Key, Stage: req.Stage, Changed: !result.Duplicate, Began: result.Created}
	out.Ended = result.Version == fsm.JourneyEnded
	return out, nil
}

// journeyEffect is what a request asks for, by the active catalog.
func (n *Node) journeyEffect(req *nba.JourneyRequest) (effect journey.Effect, err error) {
	v := n.acquire()
	defer v.release()
	active, err := v.activeCatalog()
	if err != nil {
		return effect, err
	}
	j, ok := active.Journey(req.Journey)
	if !ok {
		return effect, unknownJourney(active, req.Journey)
	}
	to, ok := j.Stage(req.Stage)
	if !ok {
		return effect, nba.Invalid("/stage", "the journey has no such stage in the active catalog")
	}
	from := journey.AnyStage
	if req.From != "" {
		if from, ok = j.Stage(req.From); !ok {
			return effect, nba.Invalid("/from", "the journey has no such stage in the active catalog")
		}
	}
	switch {
	case j.Keyed() && req.Key == "":
		return effect, nba.Invalid("/key", "instances of this journey have keys: say which one is meant")
	case !j.Keyed() && req.Key != "":
		return effect, nba.Invalid("/key", "instances of this journey have no keys: leave it out")
	case len(req.Key) > journey.MaxKeyBytes:
		return effect, nba.Invalid("/key", fmt.Sprintf("a key has at most %d bytes", journey.MaxKeyBytes))
	case len(req.Reason) > journey.MaxTextBytes:
		return effect, nba.Invalid("/reason", fmt.Sprintf("a reason has at most %d bytes", journey.MaxTextBytes))
	}
	return j.Asked(req.Key, from, to, req.Reason), nil
}

func unknownJourney(active *catalog.Catalog, name string) error {
	detail := "the active catalog has no such journey"
	if near := nba.Nearest(name, active.JourneyNames()); near != "" {
		detail += ": did you mean " + near + "?"
	}
	return nba.Errorf(nba.CodeNotFound, "%s", detail)
}

// journeysOfEvent is what an event asks of the journeys of its subject: the body of command.EffectJourneys, nil
// for nothing. vars are as for catalog.JourneyEvents.
func journeysOfEvent(active *catalog.Catalog, eventType string, vars *expr.Vars) []byte {
	return journeySection(active.JourneyEvents(nil, eventType, vars))
}

// journeySection is effects as a section, without the last ones if they are too many bytes for one event.
func journeySection(effects []journey.Effect) []byte {
	for len(effects) > 0 {
		if body := journey.AppendEffects(nil, effects); len(body) <= command.MaxJourneySection {
			return body
		}
		effects = effects[:len(effects)-1]
	}
	return nil
}

// moveByResponse adds to a response what it asks of journeys by the active catalog, if every node can apply
// that.
func (n *Node) moveByResponse(r *command.Response) {
	v := n.acquire()
	defer v.release()
	active, err := v.activeCatalog()
	if err != nil || len(active.Journeys) == 0 {
		return
	}
	body := journeySection(active.JourneyResponse(nil, r.Outcome, r.Action))
	if body == nil || v.state.Features.Allows(command.ResponseRecorded, 2) != nil {
		return
	}
	r.Effects = r.Effects.Put(command.EffectJourneys, body)
}
