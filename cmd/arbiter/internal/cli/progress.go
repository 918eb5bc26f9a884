package cli

import (
	"encoding/csv"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/bulk"
)

// progress is the line on a terminal that tells how far an import is. Without a terminal it only
// tells when the node cannot be reached. Its methods may be called from any goroutine.
type progress struct {
	a     *app
	size  int64 // of the input; 0 if unknown
	from  int64 // offset at the start
	began time.Time

	mu    sync.Mutex // guards all below
	first int64      // records read before this run
	shown bool
	drawn time.Time
	waits bool // told already that the node cannot be reached
}

// redrawEvery keeps a fast import from spending its time on the terminal.
const redrawEvery = 100 * time.Millisecond

func newProgress(a *app, job *importJob) *progress {
	return &progress{a: a, size: job.checkpoint.Size, from: job.checkpoint.Offset, began: time.Now(),
		first: job.checkpoint.Counts.Read}
}

// update draws the line after an acknowledged chunk.
func (p *progress) update(c *bulk.Checkpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waits = false
	now := time.Now()
	if !p.a.errTTY || now.Sub(p.drawn) < redrawEvery {
		return
	}
	p.drawn, p.shown = now, true
	elapsed := now.Sub(p.began).Seconds()
	line := fmt.Sprintf("%s records, %s/s", thousands(c.Counts.Read), thousands(int64(float64(c.Counts.Read-p.first)/elapsed)))
	if c.Counts.Rejected > 0 {
		line += fmt.Sprintf(", %s rejected", thousands(c.Counts.Rejected))
	}
	if done := c.Offset - p.from; p.size > 0 && done > 0 {
		left := time.Duration(elapsed * float64(p.size-c.Offset) / float64(done) * float64(time.Second))
		line = fmt.Sprintf("%3d %%  %s, %s left", 100*c.Offset/p.size, line, left.Round(time.Second))
	}
	fmt.Fprintf(p.a.err, "\r\x1b[K%s", line)
}

// waiting tells, once an outage, that the import waits for the node.
func (p *progress) waiting(cause error, _ time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits {
		return
	}
	p.waits = true
	p.erase()
	fmt.Fprintf(p.a.err, "Waiting for the node: %s\n", cause)
}

// clear takes the line away, before something else is printed.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

func (p *progress) erase() {
	if p.shown {
		fmt.Fprint(p.a.err, "\r\x1b[K")
		p.shown = false
	}
}

// writeCSV appends one record.
func writeCSV(w io.Writer, fields ...string) error {
	c := csv.NewWriter(w)
	if err := c.Write(fields); err != nil {
		return fmt.Errorf("encoding a rejected line: %w", err)
	}
	c.Flush()
	return c.Error()
}
