package node

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// What nodes ask each other about deliveries. The numbers are in the messages: append only.
const (
	methodDeliveries router.Method = 65
	methodDelivery   router.Method = 66
)

// deliveryHandlers answer the other nodes.
func (n *Node) deliveryHandlers() map[router.Method]router.Handler {
	return map[router.Method]router.Handler{methodDeliveries: n.serveDeliveries, methodDelivery: n.serveDelivery}
}

func errNoDelivery() error {
	return nba.Errorf(nba.CodeNotFound, "no such delivery: the id is not one of a delivery, it was forgotten, or its subject was deleted")
}

// Deliveries lists deliveries, the newest first: of one subject, or of all groups.
func (n *Node) Deliveries(ctx context.Context, q nba.DeliveryQuery) (list nba.DeliveryList, err error) {
	if err := n.serving(); err != nil {
		return list, err
	}
	if q.Limit == 0 {
		q.Limit = nba.DefaultDeliveries
	}
	if q.Limit < 1 || q.Limit > nba.MaxDeliveries {
		return list, nba.Invalid("/limit", "the limit is between 1 and 1000")
	}
	if _, err := statesOf(q.States); err != nil {
		return list, err
	}
	list.Deliveries = []nba.Delivery{}
	if q.Subject != nil {
		ref, err := q.Subject.Normalize()
		if err != nil {
			return list, err
		}
		q.Subject = &ref
		return list, n.deliveriesIn(ctx, n.router.GroupOf(router.Slot(ref)), &q, &list)
	}
	for group := range uint64(n.router.Groups()) {
		if err := n.deliveriesIn(ctx, group+1, &q, &list); err != nil {
			return list, err
		}
	}
	slices.SortFunc(list.Deliveries, func(a, b nba.Delivery) int { return cmp.Compare(b.DeliveryID, a.DeliveryID) })
	slices.SortFunc(list.Closed, func(a, b nba.ClosedTrigger) int { return b.ClosedAt.Compare(a.ClosedAt) })
	list.Deliveries = list.Deliveries[:min(len(list.Deliveries), q.Limit)]
	list.Closed = list.Closed[:min(len(list.Closed), q.Limit)]
	return list, nil
}

func statesOf(names []string) (states []command.DeliveryState, err error) {
	for _, name := range names {
		at := slices.IndexFunc(command.DeliveryStates(), func(s command.DeliveryState) bool { return s.String() == name })
		if at < 0 {
			return nil, nba.Invalid("/state", "a state is pending, sent, dead, expired or cancelled")
		}
		states = append(states, command.DeliveryStates()[at])
	}
	return states, nil
}

// deliveriesIn adds those of one group, wherever it is led.
func (n *Node) deliveriesIn(ctx context.Context, group uint64, q *nba.DeliveryQuery, list *nba.DeliveryList) error {
	return n.router.AtGroup(ctx, group, func() error {
		return n.deliveriesHere(group, q, list)
	}, func(node string) error {
		encoded, err := json.Marshal(q)
		if err != nil {
			return err
		}
		var p packer
		p.uint(group)
		p.text(string(encoded))
		u, err := n.ask(ctx, node, methodDeliveries, p.b)
		if err != nil {
			return err
		}
		var there nba.DeliveryList
		if json.Unmarshal([]byte(u.text()), &there) != nil || u.bad {
			return errWire
		}
		list.Deliveries, list.Closed = append(list.Deliveries, there.Deliveries...), append(list.Closed, there.Closed...)
		return nil
	})
}

func (n *Node) serveDeliveries(_ context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	group, encoded := u.uint(), u.text()
	var q nba.DeliveryQuery
	if u.bad || json.Unmarshal([]byte(encoded), &q) != nil {
		return nil, errWire
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	var list nba.DeliveryList
	err := n.deliveriesHere(group, &q, &list)
	return answer(err, func(p *packer) error {
		encoded, err := json.Marshal(&list)
		p.text(string(encoded))
		return err
	})
}

func (n *Node) deliveriesHere(group uint64, q *nba.DeliveryQuery, list *nba.DeliveryList) error {
	var key []byte
	if q.Subject != nil {
		key = command.AppendSubjectKey(nil, *q.Subject)
	}
	if q.Closed {
		shut, err := n.router.ShutTriggers(group, key, q.Limit)
		for i := range shut {
			list.Closed = append(list.Closed, closedTrigger(&shut[i]))
		}
		return err
	}
	states, err := statesOf(q.States)
	if err != nil {
		return err
	}
	found, err := n.router.Deliveries(group, &fsm.DeliveryQuery{SubjectKey: key, States: states, Limit: q.Limit})
	for i := range found {
		list.Deliveries = append(list.Deliveries, deliveryOf(&found[i]))
	}
	return err
}

func closedTrigger(t *command.ShutTrigger) nba.ClosedTrigger {
	ref, _ := command.ParseSubjectKey(t.Key) // it was read from the state
	return nba.ClosedTrigger{
		TriggerID: t.ID.String(), Subject: ref, Origin: t.Origin, EventType: t.EventType, RaisedAt: time.UnixMilli(t.RaisedMS).UTC(),
		ClosedAt: time.UnixMilli(t.ClosedMS).UTC(), Reason: t.Reason.String(), Detail: t.Detail,
	}
}

func deliveryOf(d *command.Delivery) nba.Delivery {
	ref, _ := command.ParseSubjectKey(d.Key) // it was read from the state
	return nba.Delivery{
		DeliveryID: d.ID.String(), Subject: ref, State: d.State.String(), Channel: d.Channel, Sink: d.Sink, Action: d.Action, Treatment: d.Treatment,
		Origin: d.Origin, EventType: d.EventType, DecisionID: d.Decision.String(), RaisedAt: timeOf(d.RaisedMS), DecidedAt: time.UnixMilli(d.CreatedMS).UTC(),
		DueAt: time.UnixMilli(d.DueMS).UTC(), ExpiresAt: timeOf(d.ExpiresMS), ChangedAt: timeOf(d.ChangedMS), Attempts: int(d.Attempts), Problem: d.Problem,
	}
}

// What is asked about one delivery.
const (
	deliveryShow   = 0
	deliveryReplay = 1
	deliveryCancel = 2
)

// Delivery is one delivery with what it sends.
func (n *Node) Delivery(ctx context.Context, id string) (nba.Delivery, error) {
	return n.aboutDelivery(ctx, id, deliveryShow)
}

// ReplayDelivery has a dead delivery sent again, under the same id.
func (n *Node) ReplayDelivery(ctx context.Context, id string) (nba.Delivery, error) {
	return n.aboutDelivery(ctx, id, deliveryReplay)
}

// CancelDelivery takes back a delivery that was not sent.
func (n *Node) CancelDelivery(ctx context.Context, id string) (nba.Delivery, error) {
	return n.aboutDelivery(ctx, id, deliveryCancel)
}

func (n *Node) aboutDelivery(ctx context.Context, text string, what uint64) (d nba.Delivery, err error) {
	if err := n.serving(); err != nil {
		return d, err
	}
	id, err := ulid.ParseStrict(strings.ToUpper(text))
	if err != nil {
		return d, errNoDelivery()
	}
	err = n.router.AtGroup(ctx, n.router.GroupOfID(id), func() (err error) {
		d, err = n.deliveryHere(ctx, id, what)
		return err
	}, func(node string) error {
		var p packer
		p.text(string(id[:]))
		p.uint(what)
		u, err := n.ask(ctx, node, methodDelivery, p.b)
		if err != nil {
			return err
		}
		if json.Unmarshal([]byte(u.text()), &d) != nil || u.bad {
			return errWire
		}
		return nil
	})
	return d, err
}

func (n *Node) serveDelivery(ctx context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	raw, what := u.text(), u.uint()
	if u.bad || len(raw) != len(ulid.ULID{}) || what > deliveryCancel {
		return nil, errWire
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	d, err := n.deliveryHere(ctx, ulid.ULID([]byte(raw)), what)
	return answer(err, func(p *packer) error {
		encoded, err := json.Marshal(&d)
		p.text(string(encoded))
		return err
	})
}

func (n *Node) deliveryHere(ctx context.Context, id ulid.ULID, what uint64) (d nba.Delivery, err error) {
	if what != deliveryShow {
		if err := n.changeDelivery(ctx, id, what); err != nil {
			return d, err
		}
	}
	stored, err := n.router.Delivery(id)
	if err != nil {
		return d, err
	}
	if stored == nil {
		return d, errNoDelivery()
	}
	d = deliveryOf(stored)
	if len(stored.Payload) > 0 {
		d.Message = new(nba.DeliveryMessage)
		err = json.Unmarshal(stored.Payload, d.Message)
	}
	return d, err
}

func (n *Node) changeDelivery(ctx context.Context, id ulid.ULID, what uint64) error {
	now := n.clock.Now().UnixMilli()
	change := command.DeliveryChange{ID: id, State: command.DeliveryCancelled, AtMS: now}
	if what == deliveryReplay {
		change = command.DeliveryChange{ID: id, Replay: true, AtMS: now, DueMS: now}
	} else if c := &n.outbox.courier; !c.hold(id) {
		return nba.Errorf(nba.CodeConflict, "the delivery is being sent right now: look at its state in a moment")
	} else {
		defer c.land(id)
	}
	_, err := n.router.ChangeDeliveries(ctx, n.router.GroupOfID(id), &command.ChangeDeliveries{Changes: []command.DeliveryChange{change}})
	return err
}
