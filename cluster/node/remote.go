package node

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// What nodes ask each other beyond what the router does.
const (
	methodDecide = router.MethodNode + iota
	methodSubject
	methodHistory
	methodPrepare
	methodDecision
	methodFeatures
	methodReplay
	methodLedger
	methodWhyNot
	methodPluginLog
	methodSimulation
)

// handlers answer the other nodes.
func (n *Node) handlers() map[router.Method]router.Handler {
	handlers := map[router.Method]router.Handler{
		methodDecide: n.serveDecide, methodSubject: n.serveSubject, methodHistory: n.serveHistory, methodPrepare: n.servePrepare,
		methodDecision: n.serveDecision, methodFeatures: n.serveFeatures,
		methodPluginLog: n.servePluginLog, methodReplay: n.serveReplay, methodLedger: n.serveLedger, methodWhyNot: n.serveWhyNot,
		methodSimulation: n.serveSimulation, methodJourneys: n.serveJourneys,
		methodCampaign: n.serveCampaign,
		methodWindows:  n.serveWindows,
	}
	maps.Copy(handlers, n.eventHandlers())
	maps.Copy(handlers, n.deliveryHandlers())
	return handlers
}

// An answer begins with whether it is one, or the node that leads the group instead.
const (
	replyDone      = 0
	replyNotLeader = 1
)

// ask sends a request to another node and returns what is in its answer.
func (n *Node) ask(ctx context.Context, node string, method router.Method, request []byte) (unpacker, error) {
	reply, err := n.router.Call(ctx, node, method, request)
	if err != nil {
		return unpacker{}, err
	}
	u := unpacker{rest: string(reply)}
	switch tag := u.uint(); {
	case u.bad:
		return u, errWire
	case tag == replyNotLeader:
		return u, raftgroup.ErrNotLeader("of this subject", u.text())
	}
	return u, nil
}

// answer is a reply that begins as ask expects it.
func answer(err error, write func(p *packer) error) ([]byte, error) {
	var p packer
	if moved, ok := asNotLeader(err); ok {
		p.uint(replyNotLeader)
		p.text(moved.Leader)
		return p.b, nil
	}
	if err != nil {
		return nil, err
	}
	p.uint(replyDone)
	if err := write(&p); err != nil {
		return nil, err
	}
	return p.b, nil
}

// decideAt has a decision made by another node.
func (n *Node) decideAt(ctx context.Context, node string, req *nba.DecisionRequest, out *nba.Decision) error {
	var p packer
	p.uint(n.router.Control().State().Index)
	p.request(req)
	p.key(ctx)
	u, err := n.ask(ctx, node, methodDecide, p.b)
	if err != nil {
		return err
	}
	u.decision(out)
	if replayed := u.bool(); replayed {
		nba.IdempotencyOf(ctx).SetReplayed()
	}
	return u.err()
}

// moved is what a decision that came from another node needs.
type moved struct {
	req nba.DecisionRequest
	out nba.Decision
}

// serveDecide makes a decision for another node. What that node had seen of the control log holds for
// its callers, so it is waited for here.
func (n *Node) serveDecide(ctx context.Context, _ string, request []byte) ([]byte, error) {
	if err := n.serving(); err != nil {
		return nil, err
	}
	call := n.moved.Get().(*moved)
	defer n.moved.Put(call)
	u := unpacker{rest: string(request)}
	index := u.uint()
	u.request(&call.req)
	ctx, key := u.key(ctx)
	if err := u.err(); err != nil {
		return nil, err
	}
	if err := n.router.Control().Wait(ctx, index); err != nil {
		return nil, err
	}
	subject, err := call.req.Subject.Normalize()
	if err == nil && !n.router.Leads(router.Slot(subject)) {
		err = n.router.Elsewhere(router.Slot(subject))
	} else {
		err = n.decideHere(ctx, &call.req, &call.out)
	}
	return answer(err, func(p *packer) error {
		err := p.decision(&call.out)
		p.bool(key != nil && key.Replayed())
		return err
	})
}

// recordFrom calls use with the record of a subject that is read on another node. It travels as it is
// stored; the dictionary that names its attributes is the one here, once it is as new as the one there.
func (n *Node) recordFrom(ctx context.Context, node string, ref nba.SubjectRef, want nba.Read, read *nba.Read, use func(*record.Record) error) error {
	var p packer
	p.read(ref, want)
	u, err := n.ask(ctx, node, methodSubject, p.b)
	if err != nil {
		return err
	}
	age, index, stored := time.Duration(u.int()), u.uint(), u.text()
	if err := u.err(); err != nil {
		return err
	}
	if err := n.router.Control().Wait(ctx, index); err != nil {
		return err
	}
	var r record.Record
	if err := r.Reset(ref, []byte(stored)); err != nil {
		return err
	}
	answered(read, age)
	return use(&r)
}

func (p *packer) read(ref nba.SubjectRef, want nba.Read) {
	p.text(ref.ID)
	p.text(string(ref.Type))
	p.text(want.Consistency)
	p.int(int64(want.MaxAge))
}

func (u *unpacker) read() (ref nba.SubjectRef, want nba.Read) {
	ref = nba.SubjectRef{ID: u.text(), Type: nba.SubjectType(u.text())}
	return ref, nba.Read{Consistency: u.text(), MaxAge: time.Duration(u.int())}
}

// serveSubject reads a subject for another node.
func (n *Node) serveSubject(ctx context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	ref, want := u.read()
	if err := u.err(); err != nil {
		return nil, err
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	reading, age, err := n.router.AcquireRead(ctx, ref, want)
	if err != nil {
		return answer(err, nil)
	}
	defer reading.Release()
	return answer(nil, func(p *packer) error {
		p.int(int64(age))
		p.uint(n.router.Control().State().Index)
		p.text(string(reading.Stored()))
		return nil
	})
}

// historyPage is one page of a history on its way.
type historyPage struct {
	Items []nba.Interaction `json:"items"`
	Next  string            `json:"next"`
	Age   time.Duration     `json:"age"`
}

// historyFrom reads a page of a history on another node.
func (n *Node) historyFrom(ctx context.Context, node string, ref nba.SubjectRef, want nba.Read, read *nba.Read, limit int, cursor string) ([]nba.Interaction, string, error) {
	var p packer
	p.read(ref, want)
	p.int(int64(limit))
	p.text(cursor)
	u, err := n.ask(ctx, node, methodHistory, p.b)
	if err != nil {
		return nil, "", err
	}
	var page historyPage
	if err := json.Unmarshal([]byte(u.text()), &page); err != nil || u.bad {
		return nil, "", errWire
	}
	answered(read, page.Age)
	return page.Items, page.Next, nil
}

// serveHistory reads a page of a history for another node.
func (n *Node) serveHistory(ctx context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	ref, want := u.read()
	limit, cursor := int(u.int()), u.text()
	if err := u.err(); err != nil {
		return nil, err
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	var page historyPage
	var err error
	page.Items, page.Next, page.Age, err = n.router.History(ctx, ref, want, limit, cursor)
	return answer(err, func(p *packer) error {
		encoded, err := json.Marshal(page)
		p.text(string(encoded))
		return err
	})
}
