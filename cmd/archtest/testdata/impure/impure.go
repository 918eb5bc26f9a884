// Package impure is a state machine that breaks every rule of purity.
package impure

import (
	"math/rand/v2"
	"os"
	"time"
)

type storage interface{ save() error }

type disk struct{ at time.Time }

func (disk) save() error { return os.WriteFile("state", nil, 0o600) }

// Machine is a state machine.
type Machine struct {
	m map[string]float64
	s storage
	c chan int
	f func(int)
}

// New hides a clock behind a function value.
func New() *Machine {
	m := &Machine{}
	m.f = m.wait
	return m
}

func (x *Machine) wait(n int) { time.Sleep(time.Duration(n)) }

// Apply breaks the rules directly, in a closure, and behind an interface.
func (x *Machine) Apply() any {
	sum := 0.0
	for _, v := range x.m {
		sum += v
	}
	func() { x.s = disk{at: time.Now()} }()
	x.f(1)
	go x.chance()
	select {
	case <-x.c:
	default:
	}
	return x.s.save()
}

func (x *Machine) chance() { x.m["a"] = rand.Float64() }
