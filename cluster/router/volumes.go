package router

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// How leases of volumes are asked for and given back.
const (
	// leaseTimeout bounds how long a decision waits for a lease.
	leaseTimeout = time.Second
	// refusedFor is how long nobody asks again for a lease that was not to be had, failedFor for one where
	// nobody answered.
	refusedFor = 300 * time.Millisecond
	failedFor  = 3 * time.Second
	// idleLease is after how long what is left of a lease that nobody uses is given back.
	idleLease = 30 * time.Second
	// maxLeases bounds the leases that a round of giving back looks at, and those remembered here.
	maxLeases = 20_000
)

// leaser asks the control group for parts of volumes, each once at a time.
type leaser struct {
	router *Router
	flight singleflight.Group
	ctx    context.Context //nolint:containedctx // ends with the router; parent of what outlives its callers
	cancel context.CancelFunc
	work   sync.WaitGroup // guarded by mu for Add

	mu      sync.Mutex
	closing bool
	refused map[leaseOf]time.Time // until when a lease is not asked for
	parts   map[leaseOf]uint64    // the size of the last part
}

// leaseOf names a lease of a group.
type leaseOf struct {
	group   uint64
	volume  string
	startMS int64
}

func (of leaseOf) String() string {
	return strconv.FormatUint(of.group, 10) + " " + of.volume + " " + strconv.FormatInt(of.startMS, 10)
}

func (l *leaser) begin(r *Router) {
	l.router, l.refused, l.parts = r, map[leaseOf]time.Time{}, map[leaseOf]uint64{}
	l.ctx, l.cancel = context.WithCancel(context.Background())
}

func (l *leaser) end() {
	if l.cancel == nil {
		return
	}
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.cancel()
	l.work.Wait()
}

// LeaseLeft is what is left of a volume in the group of the subject, as of the reading.
func (r *Reading) LeaseLeft(volume string, startMS int64) (uint64, error) {
	stored := r.reader.Get(store.Control, fsm.VolumeKey(nil, volume, startMS))
	if stored == nil {
		return 0, nil
	}
	lease, err := contact.DecodeLease(stored)
	return lease.Left(), err
}

// LeaseVolume gets the group of a slot, which this node leads, another part of a volume, as the catalog of
// a catalogVersion has it. got is false when there was none to be had, which it remembers for a moment.
func (r *Router) LeaseVolume(ctx context.Context, slot int, v *contact.Volume, p contact.Period, version uint64) (got bool, err error) {
	d := r.bySlot(slot)
	if err := d.readable(); err != nil {
		return false, err
	}
	of := leaseOf{d.number, v.Key, p.StartMS}
	if r.leases.wasRefused(of) {
		return false, nil
	}
	result := r.leases.flight.DoChan(of.String(), func() (any, error) { return r.leases.ask(d, of, v, p, version) })
	select {
	case done := <-result:
		if done.Err != nil {
			return false, done.Err
		}
		return done.Val.(bool), nil
	case <-ctx.Done():
		return false, nba.Errorf(nba.CodeTimeout, "the deadline passed while a part of a volume was asked for (%w)", ctx.Err())
	}
}

func (l *leaser) wasRefused(of leaseOf) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, ok := l.refused[of]
	return ok && time.Now().Before(until)
}

// ask asks the control group, and tells the data group what it got.
func (l *leaser) ask(d *dataGroup, of leaseOf, v *contact.Volume, p contact.Period, version uint64) (got bool, err error) {
	if !l.enter() {
		return false, errClosing()
	}
	defer l.work.Done()
	ctx, cancel := context.WithTimeout(l.ctx, leaseTimeout)
	defer cancel()
	part := uint64(0)
	defer func() { l.note(of, part, err) }()
	held, err := l.router.lease(d, of)
	if err != nil {
		return false, err
	}
	op := command.LeaseVolume{Volume: v.Key, StartMS: p.StartMS, EndMS: p.EndMS, Group: of.group, Groups: len(l.router.groups()),
		Have: held.Granted, Max: v.Max, Version: version}
	if err := l.router.allowed(&op); err != nil {
		return false, err
	}
	result, err := l.router.control.submit(ctx, &op, true)
	if err != nil || result.Version <= held.Granted {
		return false, err
	}
	granted := result.Version
	if result, err = d.submit(ctx, &command.GrantLease{Volume: v.Key, StartMS: p.StartMS, EndMS: p.EndMS, Granted: granted}, true); err != nil {
		return false, err
	}
	part = granted - held.Granted
	return result.Version > 0, nil
}

func (l *leaser) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closing {
		l.work.Add(1)
	}
	return !l.closing
}

// note remembers how large a part was, 0 for none.
func (l *leaser) note(of leaseOf, part uint64, failed error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.refused)+len(l.parts) > maxLeases {
		clear(l.refused)
		clear(l.parts)
	}
	if part == 0 {
		pause := refusedFor
		if failed != nil {
			pause = failedFor
		}
		l.refused[of] = time.Now().Add(pause)
		return
	}
	l.parts[of] = part
	delete(l.refused, of)
}

// lease is what a group holds of a volume.
func (r *Router) lease(d *dataGroup, of leaseOf) (l contact.Lease, err error) {
	reader, err := d.machine.Store().Acquire()
	if err != nil {
		return l, storeError(err)
	}
	defer reader.Release()
	if stored := reader.Get(store.Control, fsm.VolumeKey(nil, of.volume, of.startMS)); stored != nil {
		l, err = contact.DecodeLease(stored)
	}
	return l, err
}

// Charged has another part of a volume asked for, in the background, when that of the group of a slot runs
// low.
func (r *Router) Charged(slot int, v *contact.Volume, p contact.Period, version uint64) {
	d := r.bySlot(slot)
	of := leaseOf{d.number, v.Key, p.StartMS}
	held, err := r.lease(d, of)
	l := &r.leases
	l.mu.Lock()
	part := l.parts[of]
	l.mu.Unlock()
	if err != nil || held.Left() > part/4 || l.wasRefused(of) || !l.enter() {
		return
	}
	go func() {
		defer l.work.Done()
		_, _, _ = l.flight.Do(of.String(), func() (any, error) { return l.ask(d, of, v, p, version) }) // the next decision asks again
	}()
}

// returnLeases gives back what is left of leases that nobody uses here and what other groups want, in a group that
// this node leads.
func (r *Router) returnLeases(ctx context.Context, d *dataGroup, now time.Time) error {
	leases, err := d.machine.Leases(maxLeases)
	var problems []error
	for i := range leases {
		if err == nil && ctx.Err() == nil {
			problems = append(problems, r.returnLease(ctx, d, &leases[i], now))
		}
	}
	return errors.Join(append(problems, err)...)
}

func (r *Router) returnLease(ctx context.Context, d *dataGroup, held *fsm.HeldLease, now time.Time) error {
	left := held.Left()
	if now.UnixMilli() > held.EndMS || left == 0 && held.Returned == 0 {
		return nil // what is left of a period ends with it
	}
	budget, known, err := r.control.machine.Budget(held.Volume, held.StartMS)
	if err != nil || !known {
		return err
	}
	amount := uint64(0)
	switch idle := now.Sub(time.UnixMilli(held.UsedMS)); {
	case budget.Out() > budget.Max || idle > idleLease:
		amount = left
	case budget.Wanted && (left > 1 || idle > time.Second):
		amount = (left + 1) / 2
	}
	returned := held.Returned
	if amount > 0 {
		result, err := d.submit(ctx, &command.ReturnLease{Volume: held.Volume, StartMS: held.StartMS, Amount: amount}, false)
		if err != nil {
			return err
		}
		returned = result.Version
	}
	if returned <= budget.Part(d.number).Returned {
		return nil
	}
	_, err = r.control.submit(ctx, &command.GiveBackVolume{Volume: held.Volume, StartMS: held.StartMS, Group: d.number, Returned: returned}, true)
	return err
}
