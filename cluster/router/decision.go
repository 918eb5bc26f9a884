package router

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// RecordDecision stores a decision and its propositions in the history of its subject, and returns
// when that is durable. Recording the same id again changes nothing. If ctx has an idempotency key that
// another decision was recorded under, nothing is recorded and the key is marked as replayed; Replayed then
// tells which. It fills in Keep.
func (r *Router) RecordDecision(ctx context.Context, d *command.Decision) error {
	ref, err := d.Subject.Normalize()
	if err != nil {
		return err
	}
	slot := Slot(ref)
	if of, ok := SlotOfDecision(d.ID); !ok || of != slot {
		return nba.Invalid("/decisionId", "the decision id was not made for this subject")
	}
	d.Keep = r.control.State().Retention.MaxPerSubject
	_, err = r.write(ctx, &r.bySlot(slot).shard, d, command.AppendSubjectKey(nil, ref), true)
	return err
}

// RecordResponse stores the outcome of one proposition, and returns when that is durable. The same
// outcome of the same proposition again changes nothing and is marked as a duplicate. The errors
// have CodeDecisionUnknown and CodeActionUnknown.
func (r *Router) RecordResponse(ctx context.Context, response command.Response) (nba.ResponseReceipt, error) {
	slot, ok := SlotOfDecision(response.DecisionID)
	if !ok {
		return nba.ResponseReceipt{}, nba.Errorf(nba.CodeDecisionUnknown, "no such decision: the id is not one of ours")
	}
	result, err := r.write(ctx, &r.bySlot(slot).shard, &response, []byte(response.DecisionID), true)
	if err != nil {
		return nba.ResponseReceipt{}, err
	}
	return nba.ResponseReceipt{
		DecisionID: response.DecisionID, Action: response.Action, Outcome: response.Outcome, Duplicate: result.Duplicate,
	}, nil
}

// History lists the interactions of a subject, newest first, at most limit of them (0: 50). next is
// the cursor of the page that follows, empty after the last. An unknown subject is an error. It reads
// the replica here, as current as read asks for; see AcquireRead.
func (r *Router) History(ctx context.Context, ref nba.SubjectRef, read nba.Read, limit int, cursor string) (items []nba.Interaction, next string, age time.Duration, err error) {
	if ref, err = ref.Normalize(); err != nil {
		return nil, "", 0, err
	}
	if limit == 0 {
		limit = defaultHistory
	}
	if limit < 0 || limit > r.options.MaxHistory {
		return nil, "", 0, nba.Invalid("/limit", "the limit is not between 1 and the server's maximum")
	}
	key := command.AppendSubjectKey(nil, ref)
	from, skip, err := parseCursor(cursor, key)
	if err != nil {
		return nil, "", 0, err
	}
	d := r.byRef(ref)
	if age, err = d.current(ctx, read); err != nil {
		return nil, "", 0, err
	}
	reader, err := d.machine.Store().Acquire()
	if err != nil {
		return nil, "", 0, storeError(err)
	}
	defer reader.Release()
	if reader.Get(store.Subjects, key) == nil {
		return nil, "", 0, errUnknownSubject()
	}
	p := page{limit: limit, skip: skip, reader: reader, subjectKey: key}
	reader.ScanBack(store.History, key, from, p.add)
	return p.items, p.next, age, p.err
}

const defaultHistory = 50

// page gathers one page of a history. An entry of a decision becomes one interaction for each
// proposition, so a page may end within an entry: skip tells how many of its first were shown.
type page struct {
	limit, skip int
	reader      *store.Reader
	subjectKey  []byte

	items []nba.Interaction
	next  string
	err   error
}

func (p *page) add(key, value []byte) (more bool) {
	h, ok := fsm.ParseHistoryKey(key, len(p.subjectKey))
	if !ok {
		return true // a kind of a later release
	}
	stored := p.reader.Get(store.Decisions, h.Decision[:])
	entry, err := fsm.OpenDecisionEntry(stored)
	if err != nil {
		p.err = err
		return false
	}
	decision, err := command.OpenDecision(entry.Record)
	if err != nil {
		p.err = err
		return false
	}
	id := h.Decision.String()
	for i := 0; ; i++ {
		proposition, ok := decision.Next()
		if !ok {
			break
		}
		if h.Kind == fsm.HistoryDecision && i < p.skip || h.Kind == fsm.HistoryResponse && i != int(h.Position) {
			continue
		}
		if len(p.items) == p.limit {
			p.next = formatCursor(key[len(p.subjectKey):], i)
			return false
		}
		p.items = append(p.items, interaction(id, h, &decision, &proposition))
		if h.Kind == fsm.HistoryResponse {
			p.err = addResponse(&p.items[len(p.items)-1], h, value)
			break
		}
	}
	p.skip = 0
	return p.err == nil
}

func interaction(id string, h fsm.HistoryKey, d *command.DecisionReader, p *command.Proposition) nba.Interaction {
	return nba.Interaction{
		Time: time.UnixMilli(h.TimeMS).UTC(), DecisionID: id, CatalogVersion: d.CatalogVersion,
		Channel: strings.Clone(d.Channel), Direction: nba.Direction(strings.Clone(string(d.Direction))),
		Placement: strings.Clone(p.Placement), Rank: p.Rank, Action: strings.Clone(p.Action), Treatment: strings.Clone(p.Treatment),
		Propensity: p.Propensity, Priority: p.Priority, ModelDigest: strings.Clone(p.ModelDigest),
	}
}

func addResponse(to *nba.Interaction, h fsm.HistoryKey, value []byte) error {
	treatment, behaviour, amount, err := command.DecodeResponse(value)
	if err != nil {
		return err
	}
	if treatment != "" {
		to.Treatment = strings.Clone(treatment)
	}
	to.Behaviour, to.Value = strings.Clone(behaviour), amount
	if int(h.Outcome) < len(nba.Outcomes) {
		to.Outcome = nba.Outcomes[h.Outcome]
	}
	return nil
}

// A cursor is the entry and the number of its interactions that were shown, so that it stays valid
// while newer entries come.
func formatCursor(entry []byte, shown int) string {
	return base64.RawURLEncoding.EncodeToString(binary.AppendUvarint(slices.Clone(entry), uint64(shown)))
}

const entryBytes = 8 + 16 + 1 // of a history key after the subject, at least

func parseCursor(cursor string, subjectKey []byte) (from []byte, shown int, err error) {
	if cursor == "" {
		return nil, 0, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	for n := entryBytes; err == nil && n < len(raw); n++ {
		key := append(slices.Clone(subjectKey), raw[:n]...)
		if _, ok := fsm.ParseHistoryKey(key, len(subjectKey)); !ok {
			continue
		}
		if v, size := binary.Uvarint(raw[n:]); size == len(raw)-n && v <= command.MaxPropositions {
			return key, int(v), nil
		}
	}
	return nil, 0, nba.Invalid("/cursor", "the cursor is not one this server gave out: begin again without")
}
