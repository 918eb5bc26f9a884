package eligibility

import (
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/expr"
)

// Live is a set of actions: bit i of word i/64 is the action at that position of the catalog.
type Live []uint64

// Reset makes the set empty, with room for so many actions.
func (l Live) Reset(actions int) Live {
	words := (actions + 63) / 64
	if cap(l) < words {
		return make(Live, words)
	}
	l = l[:words]
	clear(l)
	return l
}

// Add puts an action into the set.
func (l Live) Add(action int) { l[action/64] |= 1 << (action % 64) }

// Has tells whether an action is in the set.
func (l Live) Has(action int) bool { return l[action/64]>>(action%64)&1 != 0 }

// Pass takes the actions out of live that an engagement policy takes out: the same that Failing would
// name, without telling which policy it was. Each condition is evaluated at most once, and only while
// an action that depends on it is left. every is called now and then; when it is false, Pass stops
// and tells so.
func (e *Evaluator) Pass(gates []catalog.Gate, live Live, every func() bool) (done bool) {
	for i := range gates {
		if i%gatesBetween == gatesBetween-1 && !every() {
			return false
		}
		gate := &gates[i]
		for j, action := range gate.Actions {
			if !live.Has(int(action)) {
				continue
			}
			if e.condition(gate) != expr.True {
				for _, left := range gate.Actions[j:] {
					live[left/64] &^= 1 << (left % 64)
				}
			}
			break
		}
	}
	return true
}

// gatesBetween is how many conditions are evaluated between two calls of every.
const gatesBetween = 32

func (e *Evaluator) condition(gate *catalog.Gate) expr.Verdict {
	e.vars.Purpose = gate.Purpose
	return gate.When.Program.Bool(&e.vars)
}
