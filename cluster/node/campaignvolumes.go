package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/engine"
)

var _ engine.Volumes = (*campaignDecider)(nil)

// How volumes that are used up are asked for.
const (
	// volumeWait is how long a subject that finds a volume used up waits for what other groups give back, volumeWaits
	// how often that is done in vain, and volumeAsk how long the volume is left alone afterwards.
	volumeWait  = 1500 * time.Millisecond
	volumeWaits = 2
	volumeAsk   = 5 * time.Second
	volumePoll  = 300 * time.Millisecond
)

// volumePeriod names a volume in a period.
type volumePeriod struct {
	Volume  string
	StartMS int64
}

// Spent implements engine.Volumes: what the decisions of the batch take is not there any more.
func (c *campaignDecider) Spent(v *contact.Volume, p contact.Period) bool {
	if c.dry {
		return false
	}
	of := volumePeriod{Volume: v.Key, StartMS: p.StartMS}
	if until, ok := c.spent[of]; ok && time.Now().Before(until) {
		return true
	}
	left, err := c.reading.LeaseLeft(v.Key, p.StartMS)
	if err != nil {
		c.failed = err
	}
	if left > c.used[of] {
		return false
	}
	if !slices.ContainsFunc(c.lacking, func(l charged) bool { return l.volume.Key == v.Key && l.period == p }) {
		c.lacking = append(c.lacking, charged{v, p})
	}
	return true
}

var (
	// errHeld ends a wait since the run does not go on.
	errHeld = errors.New("the run does not go on")
	// errFlush has the batch proposed before a volume is waited for: what its decisions take would count as left
	// over meanwhile, and be given back.
	errFlush = errors.New("the batch comes first")
)

// leaseMore asks for more of the volumes that are lacking. Of those that are not to be had it waits for what
// other groups give back, a few times, and then takes them for used up for a while.
func (c *campaignDecider) leaseMore(ctx context.Context, key []byte) error {
	ref, _ := command.ParseSubjectKey(key) // it was parsed before
	for _, l := range slices.Clone(c.lacking) {
		if err := c.lease(ctx, router.Slot(ref), l); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (c *campaignDecider) lease(ctx context.Context, slot int, l charged) error {
	of := volumePeriod{Volume: l.volume.Key, StartMS: l.period.StartMS}
	begun := time.Now()
	for {
		got, err := c.n.router.LeaseVolume(ctx, slot, l.volume, l.period, c.version)
		switch {
		case err != nil && movedAway(err):
			return err
		case got:
			delete(c.spent, of)
			return nil
		case c.used[of] > 0:
			return errFlush
		case c.goOn != nil && !c.goOn():
			return errHeld
		case c.waits[of] >= volumeWaits || ctx.Err() != nil:
			c.spent[of] = time.Now().Add(volumeAsk)
			return nil
		case time.Since(begun) >= volumeWait:
			c.waits[of]++
			c.spent[of] = time.Now().Add(volumeAsk)
			return nil
		}
		time.Sleep(volumePoll)
	}
}
