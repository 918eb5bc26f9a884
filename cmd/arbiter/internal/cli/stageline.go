package cli

import (
	"fmt"
	"time"
)

const (
	// quietStage is how long work may take before it is worth a line.
	quietStage = 300 * time.Millisecond
	// plainStage is how often a log gets a line, where nobody reads along.
	plainStage = 10 * time.Second
)

// stageLine tells what a long command is doing and how far it is: on a terminal as one line that is
// drawn again, elsewhere as a line every ten seconds. It belongs to one goroutine.
type stageLine struct {
	a     *app
	began time.Time
	drawn time.Time
	shown bool
	now   func() time.Time
}

func newStageLine(a *app) *stageLine {
	now := time.Now()
	return &stageLine{a: a, began: now, drawn: now, now: time.Now}
}

// update tells that done of total is done, or with total 0 only what is being done.
func (l *stageLine) update(doing string, done, total int) {
	now := l.now()
	every := redrawEvery
	if !l.a.errTTY {
		every = plainStage
	} else if now.Sub(l.began) < quietStage {
		return
	}
	if now.Sub(l.drawn) < every {
		return
	}
	l.drawn = now
	text := doing
	if total > 0 {
		text = fmt.Sprintf("%3d %%  %s, %s of %s", 100*done/total, doing, thousands(int64(done)), thousands(int64(total)))
	}
	if !l.a.errTTY {
		fmt.Fprintln(l.a.err, text)
		return
	}
	l.shown = true
	fmt.Fprintf(l.a.err, "\r\x1b[K%s", text)
}

// clear takes the line away, before something else is printed.
func (l *stageLine) clear() {
	if l.shown {
		fmt.Fprint(l.a.err, "\r\x1b[K")
		l.shown = false
	}
}
