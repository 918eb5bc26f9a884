package cli

import (
	"bytes"
	"testing"
	"time"
)

// TestStageLine draws on a terminal after a while, and writes rare lines elsewhere.
func TestStageLine(t *testing.T) {
	for _, c := range []struct {
		tty  bool
		want string
	}{
		{true, "\r\x1b[K 50 %  comparing rows, 1,000 of 2,000\r\x1b[Kwriting\r\x1b[K"},
		{false, "writing\n"},
	} {
		var out bytes.Buffer
		l := newStageLine(&app{err: &out, errTTY: c.tty})
		at := l.began
		l.now = func() time.Time { return at }
		l.update("reading", 0, 0)
		at = at.Add(time.Second)
		l.update("comparing rows", 1000, 2000)
		at = at.Add(time.Millisecond)
		l.update("comparing rows", 1001, 2000)
		at = at.Add(20 * time.Second)
		l.update("writing", 0, 0)
		l.clear()
		l.clear()
		if out.String() != c.want {
			t.Errorf("tty %v: %q, want %q", c.tty, out.String(), c.want)
		}
	}
}
