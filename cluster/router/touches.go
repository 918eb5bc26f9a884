package router

import (
	"errors"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

var (
	_ nba.Historian = (*Reading)(nil)
	_ nba.Counting  = (*Reading)(nil)
)

var errTouches = errors.New("the subject's history is not on this node")

// Touches implements nba.Historian: propositions and responses as of the same commit as the record.
// Decisions that were deleted because of their age are left out.
func (r *Reading) Touches(fn func(t *nba.Touch) (more bool)) error {
	if r.reader == nil {
		return errTouches
	}
	key := command.AppendSubjectKey(nil, r.Ref())
	var failed error
	r.reader.ScanBack(store.History, key, nil, func(k, _ []byte) bool {
		h, ok := fsm.ParseHistoryKey(k, len(key))
		if !ok {
			return true // a kind of a later release
		}
		stored := r.reader.Get(store.Decisions, h.Decision[:])
		if stored == nil {
			return true
		}
		more, err := touchesOf(h, stored, fn)
		failed = err
		return more && err == nil
	})
	return failed
}

// touchesOf calls fn for the propositions of a decision, or the one that was responded to.
func touchesOf(h fsm.HistoryKey, stored []byte, fn func(*nba.Touch) bool) (more bool, err error) {
	entry, err := fsm.OpenDecisionEntry(stored)
	if err != nil {
		return false, err
	}
	decision, err := command.OpenDecision(entry.Record)
	if err != nil {
		return false, err
	}
	touch := nba.Touch{TimeMS: h.TimeMS, Channel: decision.Channel}
	if h.Kind == fsm.HistoryResponse && int(h.Outcome) < len(nba.Outcomes) {
		touch.Outcome = nba.Outcomes[h.Outcome]
	}
	for i := 0; ; i++ {
		p, ok := decision.Next()
		if !ok {
			return true, decision.Err()
		}
		if h.Kind == fsm.HistoryResponse && i != int(h.Position) {
			continue
		}
		touch.Action = p.Action
		if !fn(&touch) {
			return false, nil
		}
	}
}

// Windows implements nba.Counting: as of the same commit as the record.
func (r *Reading) Windows() ([]byte, error) {
	if r.reader == nil {
		return nil, errTouches
	}
	return r.reader.Get(store.Windows, command.AppendSubjectKey(nil, r.Ref())), nil
}
