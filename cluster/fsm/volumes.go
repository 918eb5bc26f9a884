package fsm

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// A volume is a budget over all subjects. The control group parts it among the data groups; each counts
// its part here, in the order of its log, so that the parts together never exceed the budget. Both keep
// numbers that only grow: what was ever granted, and what was ever given back. So it does not matter that
// the messages between them are lost, late or doubled.
//
// Both keep them in the control bucket, which data groups use for nothing else:
//
//	volume, 0, beginning of the period -> contact.Lease in a data group, contact.Budget as JSON in the control group
//	volume, 0                          -> beginning of the last period that was closed; it is not opened again

// keepPeriodMS is how long after its end a period is kept, by the clock that is behind of those of the
// proposer and of whoever asks: clocks may differ by so much.
const keepPeriodMS = 25 * 3600 * 1000

// VolumeKey is the key of a volume's period. It is for readers of the store too.
func VolumeKey(dst []byte, volume string, startMS int64) []byte {
	return binary.BigEndian.AppendUint64(volumePrefix(dst, volume), uint64(startMS)^signBit)
}

func volumePrefix(dst []byte, volume string) []byte { return append(append(dst, volume...), 0) }

// ParseVolumeKey is the inverse of VolumeKey; ok is false for other keys of the bucket.
func ParseVolumeKey(key []byte) (volume string, startMS int64, ok bool) {
	at := len(key) - 8
	if at < 2 || key[at-1] != 0 {
		return "", 0, false
	}
	return string(key[:at-1]), int64(binary.BigEndian.Uint64(key[at:]) ^ signBit), true
}

// volumeUsedUp refuses a decision since its group has nothing left of a volume. It may get more.
func volumeUsedUp() error {
	return nba.Errorf(nba.CodeContactLimit, "another decision used the volume up meanwhile: decide again")
}

// charge takes what a decision takes off the budgets of volumes, all or nothing. Taking is put off until
// the rest of the operation cannot be refused any more: call what it returns.
func (d *Data) charge(u *update, p *command.Recorded) (take func() error, refused, err error) {
	take = func() error { return nil }
	body := p.Effects.Get(command.EffectCharges)
	if body == nil {
		return take, nil, nil
	}
	charges, err := contact.DecodeCharges(nil, body)
	if err != nil {
		return nil, nil, err
	}
	used := make([]struct{ key, old, next []byte }, len(charges))
	for i := range charges {
		c := &used[i]
		c.key = VolumeKey(nil, charges[i].Volume, charges[i].StartMS)
		c.old = u.Get(store.Control, c.key)
		for j := range i {
			if string(used[j].key) == string(c.key) {
				c.old = used[j].next // twice in one decision
			}
		}
		if c.old == nil {
			return nil, volumeUsedUp(), nil
		}
		lease, err := contact.DecodeLease(c.old)
		if err != nil {
			return nil, nil, err
		}
		if !lease.Use(p.TimeMS) {
			return nil, volumeUsedUp(), nil
		}
		c.next = lease.Append(nil)
	}
	return func() error {
		for _, c := range used {
			if err := u.replace(store.Control, c.key, c.old, c.next); err != nil {
				return err
			}
		}
		return nil
	}, nil, nil
}

// grantLease takes in what the control group granted.
func (d *Data) grantLease(u *update, at At, body []byte) (Result, error) {
	var op command.GrantLease
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	closed, err := closedPeriod(u, op.Volume)
	if err != nil {
		return Result{}, err
	}
	if closed != nil && op.StartMS <= *closed {
		return Result{}, nil // it comes late
	}
	if err := closePeriods(u, op.Volume, min(at.ProposedMS, op.StartMS), func(value []byte) (int64, error) {
		l, err := contact.DecodeLease(value)
		return l.EndMS, err
	}); err != nil {
		return Result{}, err
	}
	key := VolumeKey(nil, op.Volume, op.StartMS)
	stored := u.Get(store.Control, key)
	lease := contact.Lease{EndMS: op.EndMS}
	if stored != nil {
		if lease, err = contact.DecodeLease(stored); err != nil {
			return Result{}, err
		}
	}
	if op.Granted > lease.Granted {
		lease.Granted, lease.UsedMS = op.Granted, max(lease.UsedMS, at.ProposedMS)
		if err := u.replace(store.Control, key, stored, lease.Append(nil)); err != nil {
			return Result{}, err
		}
	}
	return Result{Version: lease.Left()}, nil
}

// returnLease gives back a part that is not used.
func (d *Data) returnLease(u *update, body []byte) (Result, error) {
	var op command.ReturnLease
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	key := VolumeKey(nil, op.Volume, op.StartMS)
	stored := u.Get(store.Control, key)
	if stored == nil {
		return Result{}, nil
	}
	lease, err := contact.DecodeLease(stored)
	if err != nil {
		return Result{}, err
	}
	if amount := min(op.Amount, lease.Left()); amount > 0 {
		lease.Returned += amount
		if err := u.replace(store.Control, key, stored, lease.Append(nil)); err != nil {
			return Result{}, err
		}
	}
	return Result{Version: lease.Returned}, nil
}

// leaseVolume parts a budget.
func (c *Control) leaseVolume(u *update, at At, body []byte) (Result, error) {
	var op command.LeaseVolume
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	if op.Volume == "" || len(op.Volume) > contact.MaxVolumeKeyBytes || op.EndMS <= op.StartMS {
		return refuse(nba.Errorf(nba.CodeInvalid, "the lease names no volume, or a period that ends before it begins"))
	}
	closed, err := closedPeriod(u, op.Volume)
	if err != nil {
		return Result{}, err
	}
	if closed != nil && op.StartMS <= *closed {
		return Result{}, nil // a clock is a day late: that period's budget is gone
	}
	if err := closePeriods(u, op.Volume, min(at.ProposedMS, op.StartMS), func(value []byte) (int64, error) {
		b, err := parseBudget(value)
		return b.EndMS, err
	}); err != nil {
		return Result{}, err
	}
	key := VolumeKey(nil, op.Volume, op.StartMS)
	stored := u.Get(store.Control, key)
	budget := contact.Budget{EndMS: op.EndMS}
	if stored != nil {
		if budget, err = parseBudget(stored); err != nil {
			return Result{}, err
		}
	}
	if op.Version >= budget.Version {
		budget.Version, budget.Max = op.Version, op.Max
	}
	granted := budget.Grant(op.Group, op.Have, op.Groups)
	return Result{Version: granted}, putBudget(u, key, stored, &budget)
}

// giveBackVolume takes back what a group does not use.
func (c *Control) giveBackVolume(u *update, body []byte) (Result, error) {
	var op command.GiveBackVolume
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	key := VolumeKey(nil, op.Volume, op.StartMS)
	stored := u.Get(store.Control, key)
	if stored == nil {
		return Result{}, nil
	}
	budget, err := parseBudget(stored)
	if err != nil {
		return Result{}, err
	}
	budget.Return(op.Group, op.Returned)
	return Result{Version: budget.Part(op.Group).Returned}, putBudget(u, key, stored, &budget)
}

func parseBudget(value []byte) (b contact.Budget, err error) {
	if err := json.Unmarshal(value, &b); err != nil {
		return b, fmt.Errorf("reading the budget of a volume: %w", err)
	}
	return b, nil
}

func putBudget(u *update, key, stored []byte, b *contact.Budget) error {
	value, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encoding the budget of a volume: %w", err)
	}
	if string(value) == string(stored) {
		return nil
	}
	return u.replace(store.Control, key, stored, value)
}

// Budget is what the control group knows of a volume in a period; ok is false for one that nobody asked
// for. It is safe for concurrent use.
func (c *Control) Budget(volume string, startMS int64) (b contact.Budget, ok bool, err error) {
	r, err := c.store.Acquire()
	if err != nil {
		return b, false, err
	}
	defer r.Release()
	stored := r.Get(store.Control, VolumeKey(nil, volume, startMS))
	if stored == nil {
		return b, false, nil
	}
	b, err = parseBudget(stored)
	return b, err == nil, err
}

// HeldLease is a lease with what it is of.
type HeldLease struct {
	Volume  string
	StartMS int64
	contact.Lease
}

// Leases are those of a data group, at most limit of them. It is safe for concurrent use.
func (d *Data) Leases(limit int) (leases []HeldLease, err error) {
	r, err := d.store.Acquire()
	if err != nil {
		return nil, err
	}
	defer r.Release()
	r.Scan(store.Control, nil, func(key, value []byte) bool {
		volume, start, ok := ParseVolumeKey(key)
		if !ok {
			return true
		}
		var lease contact.Lease
		if lease, err = contact.DecodeLease(value); err == nil {
			leases = append(leases, HeldLease{Volume: volume, StartMS: start, Lease: lease})
		}
		return err == nil && len(leases) < limit
	})
	return leases, err
}

// closedPeriod is the beginning of the last period of a volume that was closed, nil for none.
func closedPeriod(u *update, volume string) (*int64, error) {
	stored := u.Get(store.Control, volumePrefix(nil, volume))
	switch {
	case stored == nil:
		return nil, nil
	case len(stored) != 8:
		return nil, contact.ErrLease
	}
	start := int64(binary.LittleEndian.Uint64(stored))
	return &start, nil
}

// closePeriods forgets the periods of a volume that ended long ago. end reads when one did.
func closePeriods(u *update, volume string, nowMS int64, end func(value []byte) (int64, error)) (err error) {
	prefix := volumePrefix(nil, volume)
	var keys, values [][]byte
	u.Scan(store.Control, prefix, func(key, value []byte) bool {
		if _, _, ok := ParseVolumeKey(key); !ok || len(key) != len(prefix)+8 {
			return true
		}
		var endMS int64
		if endMS, err = end(value); err != nil || endMS > nowMS-keepPeriodMS {
			return false
		}
		keys, values = append(keys, append([]byte(nil), key...)), append(values, value)
		return true
	})
	if err != nil || len(keys) == 0 {
		return err
	}
	_, last, _ := ParseVolumeKey(keys[len(keys)-1])
	for i, key := range keys {
		if err := u.remove(store.Control, key, values[i]); err != nil {
			return err
		}
	}
	return u.replace(store.Control, prefix, u.Get(store.Control, prefix), binary.LittleEndian.AppendUint64(nil, uint64(last)))
}
