package chaos

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

func at(v uint64) *uint64 { return &v }

// TestTheModelCatches proves that the checker of registers accepts what may happen and refuses what
// may not: a checker that is never wrong may be one that never looks.
func TestTheModelCatches(t *testing.T) {
	const never = 1000
	type call struct {
		in       input
		out      output
		from, to int64
	}
	read := func(version uint64, value int64, from, to int64) call {
		return call{input{kind: readOp}, output{state: register{version > 0, version, value}}, from, to}
	}
	put := func(value int64, version uint64, from, to int64) call {
		return call{input{kind: putOp, value: value}, output{state: register{version: version}}, from, to}
	}
	cases := []struct {
		name  string
		calls []call
		legal bool
	}{
		{"a read of what was written", []call{put(7, 1, 0, 1), read(1, 7, 2, 3)}, true},
		{"a stale read", []call{put(7, 1, 0, 1), put(8, 2, 2, 3), read(1, 7, 4, 5)}, false},
		{"reads that go back", []call{put(7, 1, 0, 1), put(8, 2, 2, 9), read(2, 8, 3, 4), read(1, 7, 5, 6)}, false},
		{"a lost write", []call{put(7, 1, 0, 1), read(0, 0, 2, 3)}, false},
		{"a write applied twice", []call{put(7, 1, 0, 1), read(2, 7, 2, 3)}, false},
		{"a write in doubt that was applied", []call{{input{kind: putOp, value: 7}, output{fate: doubtful}, 0, never}, read(1, 7, 2, 3)}, true},
		{"a write in doubt that was not applied", []call{{input{kind: putOp, value: 7}, output{fate: doubtful}, 0, never}, read(0, 0, 2, 3)}, true},
		{"a write in doubt that comes and goes", []call{{input{kind: putOp, value: 7}, output{fate: doubtful}, 0, never},
			read(1, 7, 2, 3), read(0, 0, 4, 5)}, false},
		{"a condition that held", []call{put(7, 1, 0, 1),
			{input{kind: putOp, value: 8, ifVersion: at(1)}, output{state: register{version: 2}}, 2, 3}, read(2, 8, 4, 5)}, true},
		{"two conditions that both held", []call{put(7, 1, 0, 1),
			{input{kind: putOp, value: 8, ifVersion: at(1)}, output{state: register{version: 2}}, 2, 3},
			{input{kind: putOp, value: 9, ifVersion: at(1)}, output{state: register{version: 2}}, 2, 3}}, false},
		{"refused but applied", []call{put(7, 1, 0, 1),
			{input{kind: putOp, value: 8, ifVersion: at(1)}, output{fate: refused}, 2, 3}, read(2, 8, 4, 5)}, false},
		{"a deletion", []call{put(7, 1, 0, 1), {input{kind: deleteOp}, output{}, 2, 3}, read(0, 0, 4, 5)}, true},
		{"a patch of what is not there", []call{{input{kind: patchOp, value: 1}, output{fate: refused, missing: true}, 0, 1}, read(0, 0, 4, 5)}, true},
		{"a patch that was told there is nothing", []call{put(7, 1, 0, 1), {input{kind: patchOp, value: 1}, output{fate: refused, missing: true}, 2, 3}}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var ops []porcupine.Operation
			for i, call := range c.calls {
				ops = append(ops, porcupine.Operation{ClientId: i, Input: call.in, Output: call.out, Call: call.from, Return: call.to})
			}
			if got := porcupine.CheckOperations(registerModel(), ops); got != c.legal {
				t.Errorf("legal is %v, want %v", got, c.legal)
			}
		})
	}
}
