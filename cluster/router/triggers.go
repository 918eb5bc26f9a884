package router

import (
	"context"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
)

// TriggersWaiting gets a value when triggers were put into the state of a group here.
func (r *Router) TriggersWaiting() <-chan struct{} { return r.wakes.triggers }

// DeliveriesWaiting gets a value when deliveries were put into the state of a group here.
func (r *Router) DeliveriesWaiting() <-chan struct{} { return r.wakes.deliveries }

// wakes are rung by the goroutines that apply.
type wakes struct{ triggers, deliveries chan struct{} }

// ring wakes who works off a queue. It does not wait.
func (r *Router) ring(queue fsm.Queue) {
	wake := r.timing.wake
	switch queue {
	case fsm.QueueTriggers:
		wake = r.wakes.triggers
	case fsm.QueueDeliveries:
		wake = r.wakes.deliveries
	}
	select {
	case wake <- struct{}{}:
	default:
	}
}

func newWakes() wakes { return wakes{make(chan struct{}, 1), make(chan struct{}, 1)} }

// Triggers are those of a group that this node leads; see fsm.Data.Triggers.
func (r *Router) Triggers(group uint64, untilMS int64, limit int, skip func(ulid.ULID) bool) (due []command.Trigger, nextMS int64, err error) {
	d, err := r.led(group)
	if err != nil {
		return nil, 0, err
	}
	due, nextMS, err = d.machine.Triggers(untilMS, limit, skip)
	return due, nextMS, storeError(err)
}

// CloseTriggers closes triggers of a group, or puts them off.
func (r *Router) CloseTriggers(ctx context.Context, group uint64, op *command.CloseTriggers) error {
	if err := r.control.State().Features.Allows(command.TriggersClosed, 1); err != nil {
		return err
	}
	d, err := r.numbered(group)
	if err == nil {
		_, err = d.submit(ctx, op, true)
	}
	return err
}

// ShutTriggers are the triggers closed last in a group that this node leads, the newest first.
func (r *Router) ShutTriggers(group uint64, subjectKey []byte, limit int) ([]command.ShutTrigger, error) {
	d, err := r.led(group)
	if err != nil {
		return nil, err
	}
	shut, err := d.machine.ShutTriggers(subjectKey, limit)
	return shut, storeError(err)
}

// GroupTally is how much waits and is remembered in a group that this node leads.
func (r *Router) GroupTally(group uint64) (fsm.Tally, error) {
	d, err := r.led(group)
	if err != nil {
		return fsm.Tally{}, err
	}
	return d.machine.Tally(), nil
}

// Tally is how much waits and is remembered in the groups that this node leads.
func (r *Router) Tally() (sum fsm.Tally) {
	for _, i := range r.Led() {
		if d, err := r.led(i); err == nil {
			t := d.machine.Tally()
			sum.Add(&t)
		}
	}
	return sum
}

// numbered is a data group by its number, wherever it is led.
func (r *Router) numbered(group uint64) (*dataGroup, error) {
	groups := r.groups()
	if group == 0 || group > uint64(len(groups)) {
		return nil, errWire
	}
	return groups[group-1], nil
}
