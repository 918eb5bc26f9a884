package node

import (
	"context"
	"time"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/trigger"
)

// methodWindows asks for the state of event strategies of a subject.
const methodWindows router.Method = 96

// Aggregates is what the event strategies of the active catalog know of a subject; read is as for Subject.
func (n *Node) Aggregates(ctx context.Context, ref nba.SubjectRef, read *nba.Read) (out nba.SubjectAggregates, err error) {
	if ref, err = n.admit(ctx, ref); err != nil {
		return out, err
	}
	want, err := normalize(read)
	if err != nil {
		return out, err
	}
	var state []byte
	err = n.router.AtReader(ctx, router.Slot(ref), want, func() (err error) {
		var age time.Duration
		state, age, err = n.router.Windows(ctx, ref, want)
		answered(read, age)
		return err
	}, func(node string) (err error) {
		state, err = n.windowsFrom(ctx, node, ref, want, read)
		return err
	})
	if err != nil {
		return out, err
	}
	return n.describeAggregates(ref, state)
}

// describeAggregates reads a state by the active catalog. Without one there are no strategies.
func (n *Node) describeAggregates(ref nba.SubjectRef, state []byte) (nba.SubjectAggregates, error) {
	now := n.clock.Now().UTC().Truncate(time.Millisecond)
	out := nba.SubjectAggregates{SubjectRef: ref, AsOf: now, Aggregates: []nba.StrategyAggregate{}}
	v := n.acquire()
	defer v.release()
	if v.catalog == nil {
		return out, nil
	}
	due, err := trigger.Timers(state)
	if err != nil {
		return out, err
	}
	var reader catalog.Aggregator
	for _, s := range v.catalog.EventStrategies {
		if s.Spec.Stateless() {
			continue
		}
		one, err := reader.Describe(state, s, now, due)
		if err != nil {
			return out, err
		}
		out.Aggregates = append(out.Aggregates, one)
	}
	return out, nil
}

// windowsFrom reads the state of event strategies of a subject on another node.
func (n *Node) windowsFrom(ctx context.Context, node string, ref nba.SubjectRef, want nba.Read, read *nba.Read) ([]byte, error) {
	var p packer
	p.read(ref, want)
	u, err := n.ask(ctx, node, methodWindows, p.b)
	if err != nil {
		return nil, err
	}
	age, state := u.uint(), u.text()
	if u.bad {
		return nil, errWire
	}
	answered(read, time.Duration(age))
	if state == "" {
		return nil, nil
	}
	return []byte(state), nil
}

// serveWindows reads the state of event strategies of a subject for another node.
func (n *Node) serveWindows(ctx context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	ref, want := u.read()
	if err := u.err(); err != nil {
		return nil, err
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	state, age, err := n.router.Windows(ctx, ref, want)
	return answer(err, func(p *packer) error {
		p.uint(uint64(age))
		p.text(string(state))
		return nil
	})
}
