package node

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"time"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Decision is a decision as it was answered, with what came of it, read as current as read asks for. A nil
// read asks the leader. The explanation is there if the request had an idempotency key.
func (n *Node) Decision(ctx context.Context, id string, read *nba.Read) (rec nba.DecisionRecord, err error) {
	if err := n.serving(); err != nil {
		return rec, err
	}
	want, err := normalize(read)
	if err != nil {
		return rec, err
	}
	slot, ok := router.SlotOfDecision(id)
	if !ok {
		return rec, nba.Errorf(nba.CodeDecisionUnknown, "no such decision: the id is not one of ours")
	}
	err = n.router.AtReader(ctx, slot, want, func() error {
		found, age, err := n.decisionHere(ctx, id, want)
		if err != nil {
			return err
		}
		rec = found
		answered(read, age)
		return nil
	}, func(node string) (err error) {
		rec, err = n.decisionFrom(ctx, node, id, want, read)
		return err
	})
	return rec, err
}

// decisionHere reads a decision on this node.
func (n *Node) decisionHere(ctx context.Context, id string, want nba.Read) (rec nba.DecisionRecord, age time.Duration, err error) {
	rec, kept, age, err := n.router.DecisionKept(ctx, id, want)
	if err != nil {
		return rec, age, err
	}
	v := n.acquire()
	defer v.release()
	n.complete(v, &rec)
	rec.Consents = n.usedConsents(v, &rec, kept)
	rec.Cause = causeOf(kept)
	return rec, age, nil
}

// complete adds to a stored decision what the catalog tells that made it, and the response tokens. Without
// that catalog it stays as it was stored.
func (n *Node) complete(v *view, rec *nba.DecisionRecord) {
	var tokens tokenWriter
	d := &rec.Decision
	addTokens(&tokens, d)
	catalog, err := n.compiled(v.state, documentOf(v.state, d.CatalogVersion))
	if err != nil {
		n.logger.Warn("the catalog of a stored decision cannot be read", "catalogVersion", d.CatalogVersion, "error", err)
		return
	}
	on, known := catalog.Channel(rec.Channel)
	for i := range d.Propositions {
		p := &d.Propositions[i]
		for j := range p.Items {
			item := &p.Items[j]
			action, ok := catalog.Action(item.Action)
			if !ok {
				continue
			}
			item.Label, item.Issue, item.Group, item.Offering, item.ExpiresAt = action.Label, action.Issue, action.Group, action.Offering, action.To
			if !known {
				continue
			}
			item.ExpiresAt = catalog.Contacts.Until(action, on, rec.Direction, d.DecidedAt)
			if placement, ok := on.Placement(p.Placement); ok {
				item.Content = contentOf(action, placement, item)
			}
		}
	}
}

// replay answers with the decision that the idempotency key in ctx was used for; done is false if it was
// not used yet. A decision of a subject that was deleted since is unknown.
func (n *Node) replay(ctx context.Context, v *view, ref nba.SubjectRef, out *nba.Decision) (done bool, err error) {
	id, ok, err := n.router.Replayed(ctx, ref)
	if err != nil || !ok {
		return false, err
	}
	rec, _, err := n.router.Decision(ctx, id, nba.Read{Consistency: nba.ConsistencyLeader})
	if err != nil {
		return false, err
	}
	n.complete(v, &rec)
	*out = rec.Decision
	return true, nil
}

// recordedDecision is a decision record on its way between nodes.
type recordedDecision struct {
	Record nba.DecisionRecord `json:"record"`
	Age    int64              `json:"age"` // nanoseconds
}

// decisionFrom reads a decision on another node.
func (n *Node) decisionFrom(ctx context.Context, node, id string, want nba.Read, read *nba.Read) (nba.DecisionRecord, error) {
	var p packer
	p.text(id)
	p.read(nba.SubjectRef{}, want)
	u, err := n.ask(ctx, node, methodDecision, p.b)
	if err != nil {
		return nba.DecisionRecord{}, err
	}
	var found recordedDecision
	if err := json.Unmarshal([]byte(u.text()), &found); err != nil || u.bad {
		return nba.DecisionRecord{}, errWire
	}
	answered(read, time.Duration(found.Age))
	return found.Record, nil
}

// serveDecision reads a decision for another node.
func (n *Node) serveDecision(ctx context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	id := u.text()
	_, want := u.read()
	if err := u.err(); err != nil {
		return nil, err
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	rec, old, err := n.decisionHere(ctx, id, want)
	return answer(err, func(p *packer) error {
		encoded, err := json.Marshal(recordedDecision{Record: rec, Age: int64(old)})
		p.text(string(encoded))
		return err
	})
}

// key writes the idempotency key of a call.
func (p *packer) key(ctx context.Context) {
	key := nba.IdempotencyOf(ctx)
	p.bool(key != nil)
	if key != nil {
		p.text(key.Key)
		p.text(string(key.Fingerprint[:]))
	}
}

// key reads the idempotency key of a call into its context.
func (u *unpacker) key(ctx context.Context) (context.Context, *nba.Idempotency) {
	if !u.bool() {
		return ctx, nil
	}
	text, fingerprint := u.text(), u.text()
	var print [16]byte
	if copy(print[:], fingerprint) != len(print) {
		u.fail()
	}
	key := nba.NewIdempotency(text, print)
	return nba.WithIdempotency(ctx, key), key
}

// Retention tells how long interactions and idempotency keys are kept.
func (n *Node) Retention(context.Context) nba.Retention { return n.router.Control().State().Retention }

// SetRetention sets how long interactions and idempotency keys are kept.
func (n *Node) SetRetention(ctx context.Context, retention nba.Retention) error {
	if err := n.serving(); err != nil {
		return err
	}
	if err := retention.Validate(); err != nil {
		return err
	}
	return n.router.Control().SetRetention(ctx, retention)
}

// partOf is ctx with the idempotency key of one response of a call. What stands for it is the response
// itself, so that it does not matter what else was sent with it.
func partOf(ctx context.Context, i int, response *nba.Response) context.Context {
	key := nba.IdempotencyOf(ctx)
	if key == nil {
		return ctx
	}
	encoded, _ := json.Marshal(response) // texts and numbers, which are finite by now
	sum := sha256.Sum256(encoded)
	return nba.WithIdempotency(ctx, key.OfPart(i, [16]byte(sum[:16])))
}
