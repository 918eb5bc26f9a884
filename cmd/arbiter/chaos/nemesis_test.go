package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fault is one thing that goes wrong. strike breaks something and returns; the nemesis waits, then
// restores the whole cluster, and calls mend, if there is one, before that.
type fault struct {
	name     string
	replicas int  // the fewest nodes it makes sense with
	root     bool // needs namespaces
	strike   func(*nemesis) (mend func() error, err error)
}

// nemesis breaks a cluster, again and again.
type nemesis struct {
	t      *testing.T
	c      *cluster
	random *rand.Rand
	faults []fault
	// hold is how long a fault lasts at least; up to three times as long.
	hold time.Duration
	// recovery is how long the cluster may take to be whole again.
	recovery time.Duration
	struck   map[string]int
}

func newNemesis(t *testing.T, c *cluster, seed uint64, hold time.Duration, faults ...fault) *nemesis {
	t.Helper()
	n := &nemesis{t: t, c: c, random: chance(seed, 1000), hold: hold, recovery: 60 * time.Second, struck: map[string]int{}}
	only := strings.FieldsFunc(*flagFaults, func(r rune) bool { return r == ',' })
	for _, f := range faults {
		switch {
		case len(only) > 0 && !slices.Contains(only, f.name):
		case f.replicas > len(c.nodes):
		case f.root && !namespaced():
			t.Logf("without root the fault %q is left out", f.name)
		default:
			n.faults = append(n.faults, f)
		}
	}
	if len(n.faults) == 0 {
		t.Skip("none of the faults asked for applies here")
	}
	return n
}

// run strikes until ctx ends, and leaves the cluster whole. Every fault occurs once before one occurs
// twice.
func (n *nemesis) run(ctx context.Context) error {
	for ctx.Err() == nil {
		order := n.random.Perm(len(n.faults))
		for _, i := range order {
			if ctx.Err() != nil {
				break
			}
			if err := n.once(ctx, n.faults[i]); err != nil {
				return fmt.Errorf("after fault %q: %w", n.faults[i].name, err)
			}
		}
	}
	return n.c.restore(n.recovery)
}

func (n *nemesis) once(ctx context.Context, f fault) error {
	began := time.Now()
	mend, err := f.strike(n)
	if skip, ok := errors.AsType[errSkip](err); ok {
		n.t.Logf("this machine cannot do %q: %v", f.name, skip.error)
		return nil
	}
	if err != nil {
		return err
	}
	n.struck[f.name]++
	pause(ctx, n.hold+time.Duration(n.random.Int64N(int64(2*n.hold))))
	if mend != nil {
		if err := mend(); err != nil {
			return err
		}
	}
	healed := time.Now()
	if err := n.c.restore(n.recovery); err != nil {
		return err
	}
	if *flagFor > 0 {
		n.t.Logf("%s fault %-14s held %5.2f s, whole again after %5.2f s", began.Format("15:04:05.000"), f.name,
			healed.Sub(began).Seconds(), time.Since(healed).Seconds())
	}
	pause(ctx, n.hold/2)
	return nil
}

// one is a node at random.
func (n *nemesis) one() *node { return n.c.nodes[n.random.IntN(len(n.c.nodes))] }

// some are count different nodes.
func (n *nemesis) some(count int) []*node {
	var list []*node
	for _, i := range n.random.Perm(len(n.c.nodes))[:count] {
		list = append(list, n.c.nodes[i])
	}
	return list
}

// majority is the least number of nodes that stops the cluster.
func (n *nemesis) majority() int { return len(n.c.nodes)/2 + 1 }

func killed(nodes []*node) (func() error, error) {
	for _, n := range nodes {
		n.kill()
	}
	return nil, nil
}

func paused(nodes []*node) (func() error, error) {
	for _, n := range nodes {
		if err := n.signal(syscall.SIGSTOP); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// processFaults end and pause processes.
func processFaults() []fault {
	return []fault{
		{name: "kill", strike: func(n *nemesis) (func() error, error) { return killed(n.some(1)) }},
		{name: "kill-most", replicas: 3, strike: func(n *nemesis) (func() error, error) { return killed(n.some(n.majority())) }},
		{name: "kill-all", replicas: 2, strike: func(n *nemesis) (func() error, error) { return killed(n.c.nodes) }},
		{name: "pause", strike: func(n *nemesis) (func() error, error) { return paused(n.some(1)) }},
		{name: "pause-most", replicas: 3, strike: func(n *nemesis) (func() error, error) { return paused(n.some(n.majority())) }},
		{name: "restart", strike: func(n *nemesis) (func() error, error) { return nil, n.one().terminate(20 * time.Second) }},
		{name: "flicker", strike: func(n *nemesis) (func() error, error) { return nil, n.flicker() }},
		{name: "rolling", replicas: 3, strike: func(n *nemesis) (func() error, error) { return nil, n.rolling() }},
	}
}

// flicker pauses and wakes a node many times, each longer than a heartbeat and shorter than patience.
func (n *nemesis) flicker() error {
	victim := n.one()
	for range 8 {
		if err := victim.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		time.Sleep(time.Duration(50+n.random.IntN(400)) * time.Millisecond)
		if err := victim.signal(syscall.SIGCONT); err != nil {
			return err
		}
		time.Sleep(time.Duration(5+n.random.IntN(60)) * time.Millisecond)
	}
	return nil
}

// rolling restarts every node in turn, which hands over every leader several times.
func (n *nemesis) rolling() error {
	for _, victim := range n.some(len(n.c.nodes)) {
		if err := victim.terminate(20 * time.Second); err != nil {
			return err
		}
		if err := n.c.restore(n.recovery); err != nil {
			return err
		}
	}
	return nil
}

// networkFaults disturb what nodes say to each other.
func networkFaults() []fault {
	blockOthers := func(n *nemesis, directions ...int) {
		victim := n.one()
		for _, l := range n.c.links {
			if l.from == victim.id || l.to == victim.id {
				for _, d := range directions {
					l.block(d)
				}
			}
		}
	}
	return []fault{
		{name: "isolate", replicas: 3, strike: func(n *nemesis) (func() error, error) {
			blockOthers(n, there, back)
			return nil, nil
		}},
		{name: "mute", replicas: 3, strike: func(n *nemesis) (func() error, error) { return nil, n.oneWay(true) }},
		{name: "deaf", replicas: 3, strike: func(n *nemesis) (func() error, error) { return nil, n.oneWay(false) }},
		{name: "cut", replicas: 3, strike: func(n *nemesis) (func() error, error) {
			victim := n.one()
			for _, l := range n.c.links {
				if l.from == victim.id || l.to == victim.id {
					l.cut()
				}
			}
			return nil, nil
		}},
		{name: "bridge", replicas: 3, strike: func(n *nemesis) (func() error, error) {
			pair := n.some(2)
			for _, l := range n.c.between(pair[0], pair[1]) {
				l.block(there)
				l.block(back)
			}
			return nil, nil
		}},
		{name: "slow-net", replicas: 3, strike: func(n *nemesis) (func() error, error) {
			for _, l := range n.c.links {
				l.slow(time.Duration(5+n.random.IntN(60)) * time.Millisecond)
			}
			return nil, nil
		}},
	}
}

// oneWay keeps a node from being heard, or from hearing.
func (n *nemesis) oneWay(mute bool) error {
	victim := n.one()
	for _, l := range n.c.links {
		switch {
		case l.from == victim.id && mute, l.to == victim.id && !mute:
			l.block(there)
		case l.to == victim.id && mute, l.from == victim.id && !mute:
			l.block(back)
		}
	}
	return nil
}
