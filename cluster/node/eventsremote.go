package node

import (
	"context"
	"sync"
	"unsafe"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
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

// applyEventsAt has events applied by another node.
func (n *Node) applyEventsAt(ctx context.Context, node string, group int, op *command.ApplyEvents) (applied fsm.AppliedEvents, done bool, err error) {
	u, err := n.askToApply(ctx, node, []int{group}, func(int) *command.ApplyEvents { return op })
	if err != nil {
		return applied, false, err
	}
	applied, done, err = u.applied()
	if err == nil {
		err = u.err()
	}
	return applied, done, err
}

// applySharesAt has the shares of several data groups applied by another node. left are the groups whose events
// that node did not apply, or of which it cannot be told.
func (n *Node) applySharesAt(ctx context.Context, node string, groups []int, shares []eventShare) (left []int, err error) {
	u, err := n.askToApply(ctx, node, groups, func(group int) *command.ApplyEvents { return &shares[group].op })
	if err != nil {
		if code := nba.CodeOf(err); code == nba.CodeUnavailable || code == nba.CodeInternal || movedAway(err) {
			return groups, nil // applied again, they are duplicates
		}
		return nil, err
	}
	for i, group := range groups {
		applied, _, err := u.applied()
		if u.bad {
			return groups[i:], nil
		}
		if err == nil {
			shares[group].applied = applied
			continue
		}
		if _, moved := asNotLeader(err); !moved && nba.CodeOf(err) != nba.CodeUnavailable {
			return left, err
		}
		left = append(left, group)
	}
	return left, nil
}

// askToApply sends events to another node. They travel as the operations that they will be, without effects.
func (n *Node) askToApply(ctx context.Context, node string, groups []int, of func(group int) *command.ApplyEvents) (u unpacker, err error) {
	var p packer
	size := 64
	for _, group := range groups {
		for i := range of(group).Events {
			size += of(group).Events[i].Size()
		}
	}
	p.b = make([]byte, 0, size)
	p.uint(n.router.Control().State().Index)
	p.uint(uint64(len(groups)))
	for _, group := range groups {
		p.uint(uint64(group))
		if p.b, err = of(group).Append(p.b); err != nil {
			return u, err
		}
	}
	return n.ask(ctx, node, methodEvents, p.b)
}

// applied reads what became of the events of one data group. Another node's refusal is the error.
func (u *unpacker) applied() (applied fsm.AppliedEvents, done bool, err error) {
	switch u.uint() {
	case appliedHere:
	case appliedElsewhere:
		return applied, false, raftgroup.ErrNotLeader("of these events", u.text())
	default:
		return applied, false, &nba.Error{Code: nba.Code(u.text()), Message: u.text()}
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
	appliedHere      = 0
	appliedElsewhere = 1
	appliedRefused   = 2

	outcomeApplied   = 0
	outcomeDuplicate = 1
	outcomeDead      = 2
)

func (p *packer) applied(applied *fsm.AppliedEvents, done bool, err error) {
	if moved, ok := asNotLeader(err); ok {
		p.uint(appliedElsewhere)
		p.text(moved.Leader)
		return
	}
	if err != nil {
		p.uint(appliedRefused)
		p.text(string(nba.CodeOf(err)))
		p.text(err.Error())
		return
	}
	p.uint(appliedHere)
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
}

// arrived are the events of one data group that another node sent.
type arrived struct {
	group   int
	op      command.ApplyEvents
	applied fsm.AppliedEvents
	done    bool
	err     error
}

// openEvents reads what askToApply wrote. The operations share the memory of request.
func (n *Node) openEvents(request []byte) (index uint64, all []arrived, err error) {
	u := unpacker{rest: unsafe.String(unsafe.SliceData(request), len(request))}
	index = u.uint()
	all = make([]arrived, u.count())
	for i := range all {
		group := u.uint()
		if u.bad || group >= uint64(n.router.Groups()) {
			return 0, nil, errWire
		}
		framed, rest, err := command.NextFramed(request[len(request)-len(u.rest):])
		if err != nil || framed.Kind != command.EventsApplied {
			return 0, nil, errWire
		}
		u.rest = u.rest[len(u.rest)-len(rest):]
		all[i].group = int(group)
		if err := all[i].op.Decode(framed.Body); err != nil {
			return 0, nil, err
		}
	}
	return index, all, u.err()
}

// serveEvents applies events for another node, those of several data groups at once.
func (n *Node) serveEvents(ctx context.Context, _ string, request []byte) ([]byte, error) {
	if err := n.serving(); err != nil {
		return nil, err
	}
	index, all, err := n.openEvents(request)
	if err != nil {
		return nil, err
	}
	if err := n.router.Control().Wait(ctx, index); err != nil {
		return nil, err
	}
	var groups sync.WaitGroup
	for i := range all {
		a := &all[i]
		apply := func() { a.applied, a.done, a.err = n.applyEventsHere(ctx, a.group, &a.op) }
		if i+1 == len(all) {
			apply() // the last one here
			break
		}
		groups.Go(apply)
	}
	groups.Wait()
	return answer(nil, func(p *packer) error {
		for i := range all {
			p.applied(&all[i].applied, all[i].done, all[i].err)
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
	d, err := n.router.EventReader(int(group))
	if err == nil {
		cursor, err = d.StreamCursor(stream)
		err = router.StoreError(err)
	}
	return answer(err, func(p *packer) error {
		p.uint(cursor)
		return nil
	})
}
