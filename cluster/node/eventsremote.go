package node

import (
	"context"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// What nodes ask each other about events. The numbers are in the messages: append only.
const (
	methodEvents     router.Method = 60
	methodEventList  router.Method = 61
	methodLetterList router.Method = 62
	methodCursor     router.Method = 63
)

// eventHandlers answer the other nodes.
func (n *Node) eventHandlers() map[router.Method]router.Handler {
	return map[router.Method]router.Handler{
		methodEvents: n.serveEvents, methodEventList: n.serveEventList, methodLetterList: n.serveLetterList, methodCursor: n.serveCursor,
	}
}

// applyEventsAt has events applied by another node. They travel as the operation that they will be, without its
// effects.
func (n *Node) applyEventsAt(ctx context.Context, node string, group int, op *command.ApplyEvents) (applied fsm.AppliedEvents, done bool, err error) {
	var p packer
	p.uint(n.router.Control().State().Index)
	p.uint(uint64(group))
	if p.b, err = op.Append(p.b); err != nil {
		return applied, false, err
	}
	u, err := n.ask(ctx, node, methodEvents, p.b)
	if err != nil {
		return applied, false, err
	}
	done, applied.Letters = u.bool(), u.uint()
	applied.Outcomes = make([]fsm.EventOutcome, u.count())
	for i := range applied.Outcomes {
		switch o := &applied.Outcomes[i]; u.uint() {
		case outcomeApplied:
		case outcomeDuplicate:
			o.Duplicate = true
		default:
			o.Code, o.Number = nba.Code(u.text()), u.uint()
		}
	}
	return applied, done, u.err()
}

const (
	outcomeApplied   = 0
	outcomeDuplicate = 1
	outcomeDead      = 2
)

// serveEvents applies events for another node.
func (n *Node) serveEvents(ctx context.Context, _ string, request []byte) ([]byte, error) {
	if err := n.serving(); err != nil {
		return nil, err
	}
	u := unpacker{rest: string(request)}
	index, group := u.uint(), u.uint()
	if u.bad || group >= uint64(n.router.Groups()) {
		return nil, errWire
	}
	framed, err := command.OpenFramed([]byte(u.rest))
	if err != nil || framed.Kind != command.EventsApplied {
		return nil, errWire
	}
	var op command.ApplyEvents
	if err := op.Decode(framed.Body); err != nil {
		return nil, err
	}
	if err := n.router.Control().Wait(ctx, index); err != nil {
		return nil, err
	}
	applied, done, err := n.applyEventsHere(ctx, int(group), &op)
	return answer(err, func(p *packer) error {
		p.bool(done)
		p.uint(applied.Letters)
		p.uint(uint64(len(applied.Outcomes)))
		for i := range applied.Outcomes {
			switch o := &applied.Outcomes[i]; {
			case o.Code != "":
				p.uint(outcomeDead)
				p.text(string(o.Code))
				p.uint(o.Number)
			case o.Duplicate:
				p.uint(outcomeDuplicate)
			default:
				p.uint(outcomeApplied)
			}
		}
		return nil
	})
}

// cursorFrom reads the cursor of a stream on another node.
func (n *Node) cursorFrom(ctx context.Context, node string, group int, stream string) (uint64, error) {
	var p packer
	p.uint(uint64(group))
	p.text(stream)
	u, err := n.ask(ctx, node, methodCursor, p.b)
	if err != nil {
		return 0, err
	}
	cursor := u.uint()
	return cursor, u.err()
}

func (n *Node) serveCursor(_ context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	group, stream := u.uint(), u.text()
	if u.bad || group >= uint64(n.router.Groups()) {
		return nil, errWire
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	cursor := uint64(0)
	d, err := n.router.EventReader(int(group), false)
	if err == nil {
		cursor, err = d.StreamCursor(stream)
	}
	return answer(err, func(p *packer) error {
		p.uint(cursor)
		return nil
	})
}
