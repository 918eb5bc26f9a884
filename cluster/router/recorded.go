package router

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func errUnknownDecision() error {
	return nba.Errorf(nba.CodeDecisionUnknown, "no such decision: it was simulated, it is older than what is kept, or its subject was deleted")
}

// Decision is a stored decision, without what the catalog version it names tells. It reads the replica
// here, as current as read asks for; see AcquireRead. The error has CodeDecisionUnknown.
func (r *Router) Decision(ctx context.Context, id string, read nba.Read) (rec nba.DecisionRecord, age time.Duration, err error) {
	rec, _, age, err = r.DecisionKept(ctx, id, read)
	return rec, age, err
}

func (r *Router) decision(ctx context.Context, id string, read nba.Read) (rec nba.DecisionRecord, kept command.Sections, age time.Duration, err error) {
	slot, ok := SlotOfDecision(id)
	if !ok {
		return rec, nil, 0, errUnknownDecision()
	}
	d := r.bySlot(slot)
	if age, err = d.current(ctx, read); err != nil {
		return rec, nil, 0, err
	}
	reader, err := d.machine.Store().Acquire()
	if err != nil {
		return rec, nil, 0, storeError(err)
	}
	defer reader.Release()
	key := ulid.MustParseStrict(id)
	stored := reader.Get(store.Decisions, key[:])
	if stored == nil && fsm.Erased(reader, key) {
		return rec, nil, 0, nba.Errorf(nba.CodeSubjectErased, "the subject of the decision was deleted, and the decision with it")
	}
	if stored == nil {
		return rec, nil, 0, errUnknownDecision()
	}
	stored = slices.Clone(stored) // what is read from it shares its memory
	entry, err := fsm.OpenDecisionEntry(stored)
	if err != nil {
		return rec, nil, 0, err
	}
	if rec, kept, err = decisionRecord(key, &entry); err == nil {
		rec.Responses, err = responsesTo(reader, key, &entry)
	}
	return rec, kept, age, err
}

// decisionRecord is what a stored decision says of itself, and what is kept with it.
func decisionRecord(id ulid.ULID, entry *fsm.DecisionEntry) (rec nba.DecisionRecord, kept command.Sections, err error) {
	in, err := command.OpenDecision(entry.Record)
	if err != nil {
		return rec, nil, err
	}
	rec = nba.DecisionRecord{
		Decision: nba.Decision{
			DecisionID: id.String(), CatalogVersion: in.CatalogVersion, DecidedAt: time.UnixMilli(in.TimeMS).UTC(),
			Degraded: in.Degraded, DegradedReason: in.DegradedReason, InControlGroup: in.InControlGroup, ControlGroup: in.ControlGroup,
		},
		Channel: in.Channel, Direction: in.Direction, DecisionRequestID: in.RequestID,
	}
	rec.Subject, _ = command.ParseSubjectKey(entry.Key)
	at := func(placement string) *nba.PlacementPropositions {
		for i := range rec.Propositions {
			if rec.Propositions[i].Placement == placement {
				return &rec.Propositions[i]
			}
		}
		rec.Propositions = append(rec.Propositions, nba.PlacementPropositions{Placement: placement, Items: []nba.Proposition{}})
		return &rec.Propositions[len(rec.Propositions)-1]
	}
	for _, placement := range in.Placements {
		at(placement)
	}
	for p, ok := in.Next(); ok; p, ok = in.Next() {
		into := at(p.Placement)
		into.Items = append(into.Items, proposition(&p))
	}
	if err := in.Err(); err != nil {
		return rec, nil, err
	}
	if body := in.Sections().Get(command.KeptStrategies); body != nil {
		if err := command.DecodeStrategies(body, rec.Propositions); err != nil {
			return rec, nil, fmt.Errorf("reading what strategies made of a stored decision: %w", err)
		}
	}
	if explained := in.Explanation(); explained != nil {
		rec.Explanation = new(nba.Explanation)
		if err := json.Unmarshal(explained, rec.Explanation); err != nil {
			return rec, nil, fmt.Errorf("reading a stored explanation: %w", err)
		}
	}
	return rec, in.Sections(), nil
}

func proposition(p *command.Proposition) nba.Proposition {
	item := nba.Proposition{
		Rank: p.Rank, Action: p.Action, Treatment: p.Treatment, Propensity: p.Propensity, ContextWeight: p.ContextWeight, Value: p.Value,
		Lever: p.Lever, Priority: p.Priority, SelectionProbability: p.SelectionProbability, Reason: nba.Reason{Code: p.ReasonCode, Label: p.ReasonLabel},
	}
	if p.ModelDigest != "" {
		item.Model = &nba.ModelInfo{Name: p.ModelName, Version: p.ModelVersion, Digest: p.ModelDigest}
	}
	return item
}

// responsesTo finds the responses to a decision in the history of its subject, in the order of their times.
// The decision tells how many there are.
func responsesTo(reader *store.Reader, id ulid.ULID, entry *fsm.DecisionEntry) (list []nba.RecordedResponse, err error) {
	left := entry.Responses()
	list = make([]nba.RecordedResponse, 0, left)
	if left == 0 {
		return list, nil
	}
	var propositions []command.Proposition
	in, err := command.OpenDecision(entry.Record)
	for p, ok := in.Next(); ok; p, ok = in.Next() {
		propositions = append(propositions, p)
	}
	if err != nil {
		return nil, err
	}
	reader.Scan(store.History, entry.Key, func(key, value []byte) bool {
		h, ok := fsm.ParseHistoryKey(key, len(entry.Key))
		if !ok || h.Kind != fsm.HistoryResponse || h.Decision != id || int(h.Position) >= len(propositions) || int(h.Outcome) >= len(nba.Outcomes) {
			return true
		}
		p := &propositions[h.Position]
		response := nba.RecordedResponse{Action: p.Action, Treatment: p.Treatment, Placement: p.Placement, Outcome: nba.Outcomes[h.Outcome], Time: time.UnixMilli(h.TimeMS).UTC()}
		treatment, behaviour, amount, decodeErr := command.DecodeResponse(value)
		if err = decodeErr; err != nil {
			return false
		}
		if treatment != "" {
			response.Treatment = strings.Clone(treatment)
		}
		response.Behaviour, response.Value = strings.Clone(behaviour), amount
		list = append(list, response)
		return len(list) < left
	})
	return list, err
}
