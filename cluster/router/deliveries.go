package router

import (
	"context"
	"encoding/binary"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
)

// DueSinks are the sinks for which deliveries of a group that this node leads are pending.
func (r *Router) DueSinks(group uint64) ([]string, error) {
	d, err := r.led(group)
	if err != nil {
		return nil, err
	}
	sinks, err := d.machine.Sinks()
	return sinks, storeError(err)
}

// DueDeliveries are those of a group that this node leads; see fsm.Data.DueOf.
func (r *Router) DueDeliveries(group uint64, sink string, untilMS int64, limit int, skip func(ulid.ULID) bool) (due []command.Delivery, nextMS int64, err error) {
	d, err := r.led(group)
	if err != nil {
		return nil, 0, err
	}
	due, nextMS, err = d.machine.DueOf(sink, untilMS, limit, skip)
	return due, nextMS, storeError(err)
}

// ChangeDeliveries reports what became of deliveries of a group. The answer has how many were changed.
func (r *Router) ChangeDeliveries(ctx context.Context, group uint64, op *command.ChangeDeliveries) (int, error) {
	if err := r.control.State().Features.Allows(command.DeliveriesChanged, 1); err != nil {
		return 0, err
	}
	d, err := r.numbered(group)
	if err != nil {
		return 0, err
	}
	result, err := d.submit(ctx, op, true)
	return int(result.Version), err
}

// GroupOfID is the number of the data group that an id of ours leads to: that of a decision, a trigger or a delivery.
func (r *Router) GroupOfID(id ulid.ULID) uint64 {
	return r.GroupOf(int(binary.BigEndian.Uint16(id[slotInULID:]) >> 4))
}

// AtGroup has a call answered by the node that leads a data group: here if it is this one, else there. The
// call must be one that may be repeated.
func (r *Router) AtGroup(ctx context.Context, group uint64, here func() error, there func(node string) error) error {
	d, err := r.numbered(group)
	if err != nil {
		return err
	}
	s := &d.shard
	if s.net == nil {
		return here()
	}
	return s.try(ctx, true, s.leader, here, there)
}

// Delivery is the one with an id, of a group that this node leads; nil if there is none.
func (r *Router) Delivery(id ulid.ULID) (*command.Delivery, error) {
	d, err := r.led(r.GroupOfID(id))
	if err != nil {
		return nil, err
	}
	e, err := d.machine.Delivery(id)
	return e, storeError(err)
}

// Deliveries are those of a group that this node leads that a query chooses, the newest first.
func (r *Router) Deliveries(group uint64, q *fsm.DeliveryQuery) ([]command.Delivery, error) {
	d, err := r.led(group)
	if err != nil {
		return nil, err
	}
	found, err := d.machine.Deliveries(q)
	return found, storeError(err)
}
