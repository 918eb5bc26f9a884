package command

import (
	"bytes"
	"testing"
)

// FuzzTimers: an operation is read as it was written, and nothing else is one.
func FuzzTimers(f *testing.F) {
	for _, op := range []FireTimers{{UntilMS: 1_750_000_000_000, Limit: 256}, {UntilMS: -1, Limit: MaxFired}} {
		framed, _ := op.Append(nil)
		f.Add(framed[opHeadBytes:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var op FireTimers
		if op.Decode(body) != nil {
			return
		}
		if op.Limit == 0 || op.Limit > MaxFired {
			t.Fatalf("takes a limit of %d", op.Limit)
		}
		framed, err := op.Append(nil)
		if err != nil || !bytes.Equal(framed[opHeadBytes:], body) {
			t.Fatalf("%x is written as %x: %v", body, framed, err)
		}
		if kind, version := KindOf(framed); kind != TimersFired || version != opVersion {
			t.Fatalf("kind %d version %d", kind, version)
		}
		if level, ok := Needs(TimersFired, opVersion); !ok || level != LevelEvents {
			t.Fatalf("needs level %d %v", level, ok)
		}
	})
}
