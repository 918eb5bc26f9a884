package node

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"time"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/replay"
)

// WhyNot tells why an action is not proposed to the subject of req now. Nothing is recorded. It is worked
// out where the subject's group is led.
func (n *Node) WhyNot(ctx context.Context, req *nba.DecisionRequest, action string) (why nba.WhyNot, err error) {
	if err := n.serving(); err != nil {
		return why, err
	}
	n.catchUp(ctx)
	subject, err := req.Subject.Normalize()
	if err != nil {
		return why, err
	}
	err = n.router.AtLeader(ctx, router.Slot(subject), func() error {
		why, err = n.whyNotHere(ctx, req, action)
		return err
	}, func(node string) (err error) {
		why, err = n.whyNotAt(ctx, node, req, action)
		return err
	})
	return why, err
}

// whyNotAt has another node tell.
func (n *Node) whyNotAt(ctx context.Context, node string, req *nba.DecisionRequest, action string) (why nba.WhyNot, err error) {
	var p packer
	p.uint(n.router.Control().State().Index)
	p.request(req)
	p.text(action)
	u, err := n.ask(ctx, node, methodWhyNot, p.b)
	if err != nil {
		return why, err
	}
	if err := json.Unmarshal([]byte(u.text()), &why); err != nil || u.bad {
		return why, errWire
	}
	return why, nil
}

// serveWhyNot tells another node.
func (n *Node) serveWhyNot(ctx context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	index := u.uint()
	var req nba.DecisionRequest
	u.request(&req)
	action := u.text()
	if err := u.err(); err != nil {
		return nil, err
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	if err := n.router.Control().Wait(ctx, index); err != nil {
		return nil, err
	}
	why, err := n.whyNotHere(ctx, &req, action)
	return answer(err, func(p *packer) error {
		encoded, err := json.Marshal(why)
		p.text(string(encoded))
		return err
	})
}

func (n *Node) whyNotHere(ctx context.Context, req *nba.DecisionRequest, name string) (why nba.WhyNot, err error) {
	v := n.acquire()
	defer v.release()
	policies, version, err := n.catalogFor(ctx, v, req.Options.CatalogVersion)
	if err != nil {
		return why, err
	}
	if err := engine.ValidateRequest(req, policies); err != nil {
		return why, err
	}
	action, ok := policies.Action(name)
	if !ok {
		return why, nba.Errorf(nba.CodeActionUnknown, "the catalog has no such action")
	}
	in := engine.Input{Dictionary: v.state.Dictionary, Catalog: policies, CatalogVersion: version, Scorer: v.models, Strategy: v.models, Request: req}
	in.Now = n.clock.Now().UTC().Truncate(time.Millisecond)
	in.DecisionID = decisionID(req.Subject, in.Now, rand.Uint64(), rand.Uint64())
	in.Seed = replay.Seed(in.DecisionID)
	scratch := n.scratch.Get().(*decideScratch)
	defer n.scratch.Put(scratch)
	if err := n.findLinked(ctx, &in, &scratch.others); err != nil {
		return why, err
	}
	reading, err := n.reading(ctx, req)
	if err != nil {
		return why, err
	}
	defer reading.Release()
	in.Subject = reading
	if in.Contacts, err = reading.Contacts(); err != nil {
		return why, err
	}
	scratch.budgets = budgets{reading: reading, lacking: scratch.budgets.lacking[:0]}
	in.Volumes = &scratch.budgets
	found, err := n.engine.WhyNot(ctx, in, action)
	if err != nil {
		return why, err
	}
	return *found, nil
}
