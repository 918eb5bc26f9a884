package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/arbiterhq/arbiter/runtime/cloudevent"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of events that come one a line.
const (
	// bulkEventsAtOnce and bulkBytesAtOnce bound what is applied together.
	bulkEventsAtOnce = 512
	bulkBytesAtOnce  = 256 << 10
	// maxEventLine bounds one line.
	maxEventLine = 256 << 10
	// firstBulkPause and longBulkPause are between two tries while the node has too much to do.
	firstBulkPause = 20 * time.Millisecond
	longBulkPause  = time.Second
)

// eventLine tells what is wrong with a line.
type eventLine struct {
	Line   int             `json:"line"`
	Status nba.EventStatus `json:"status"`
	Letter string          `json:"letter,omitempty"`
	Code   nba.Code        `json:"code,omitempty"`
	Detail string          `json:"detail,omitempty"`
}

// eventSummary is what became of all lines that were read.
type eventSummary struct {
	Lines        int `json:"lines"`
	Accepted     int `json:"accepted"`
	Duplicates   int `json:"duplicates"`
	DeadLettered int `json:"deadLettered"`
}

// eventEnd is the last line of an answer; Problem is set if it ended early. What the summary counts is durable.
type eventEnd struct {
	Problem *Problem     `json:"problem,omitempty"`
	Summary eventSummary `json:"summary"`
}

// bulkRun applies events that come one a line.
type bulkRun struct {
	core Core
	say  func(v any) error

	summary eventSummary
	done    int   // lines that were applied
	failed  error // of say
	batch   []nba.IncomingEvent
	lines   []int // where the events of batch come from
	text    []byte
	ends    []int // of the lines in text
}

// read applies every line of body. It keeps a part in memory and reads on when that is durable.
func (b *bulkRun) read(ctx context.Context, body io.Reader) error {
	in := bufio.NewReaderSize(body, maxEventLine)
	for line := 1; ; line++ {
		text, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return errors.Join(b.flush(ctx), nba.Errorf(nba.CodeTooLarge, "line %d is longer than %d bytes: one event a line", line, maxEventLine))
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(b.flush(ctx), fmt.Errorf("reading line %d: %w", line, err))
		}
		if len(trimmed(text)) > 0 {
			b.text = append(b.text, text...)
			b.ends, b.lines = append(b.ends, len(b.text)), append(b.lines, line)
		}
		if len(b.ends) == bulkEventsAtOnce || len(b.text) >= bulkBytesAtOnce || err != nil {
			if flushed := b.flush(ctx); flushed != nil || err != nil {
				return flushed
			}
		}
	}
}

func trimmed(line []byte) []byte {
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r' || line[len(line)-1] == ' ') {
		line = line[:len(line)-1]
	}
	return line
}

// flush applies what was read. While the node has too much to do it waits, and with it the sender.
func (b *bulkRun) flush(ctx context.Context) error {
	if len(b.ends) == 0 {
		return nil
	}
	text, start := textOf(b.text), 0
	for _, end := range b.ends {
		raw := text[start:end]
		e, err := cloudevent.Structured(raw)
		b.batch, start = append(b.batch, incoming(e, err, raw)), end
	}
	var receipts []nba.EventReceipt
	for pause := firstBulkPause; ; pause = min(2*pause, longBulkPause) {
		var err error
		if receipts, err = b.core.AcceptEvents(ctx, b.batch); err == nil {
			break
		}
		if code := nba.CodeOf(err); code != nba.CodeOverloaded && code != nba.CodeUnavailable {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
	counts := countReceipts(receipts)
	b.summary.Accepted += counts.accepted
	b.summary.Duplicates += counts.duplicates
	b.summary.DeadLettered += counts.dead
	b.summary.Lines += len(receipts)
	b.done += len(receipts)
	for i := range receipts {
		if r := &receipts[i]; r.Status == nba.EventDead && b.failed == nil {
			b.failed = b.say(eventLine{Line: b.lines[i], Status: r.Status, Letter: r.Letter, Code: r.Code, Detail: r.Detail})
		}
	}
	clear(b.batch)
	b.batch, b.lines, b.ends, b.text = b.batch[:0], b.lines[:0], b.ends[:0], b.text[:0]
	return b.failed
}

// finish says the last line and gives what must be logged.
func (b *bulkRun) finish(err error, id string) (fault error) {
	end := eventEnd{Summary: b.summary}
	if err != nil {
		p, internal := problemOf(err, id)
		if end.Problem = &p; internal {
			fault = fmt.Errorf("taking events: %w", err)
		}
	}
	if b.failed == nil {
		b.failed = b.say(end)
	}
	return fault
}

// streamEvents answers events of any number, one a line: it reads the body as it comes. Other bodies are as on
// the API port.
func (a *Admin) streamEvents(op *operation) netHandler {
	whole := a.serve(op)
	return func(w *trackingWriter, r *http.Request, id string) error {
		in, err := netRequest(op, r, id)
		if err != nil {
			return err
		}
		if in.media != contentTypeNDJSON || isBinaryEvent(in) {
			return whole(w, r, id)
		}
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			return fmt.Errorf("enabling full duplex: %w", err)
		}
		body := &patientReader{body: r.Body, control: control, stall: a.options.Timeouts.ImportStall}
		encoder := newLineEncoder(w)
		run := bulkRun{core: a.core, say: func(v any) error {
			if err := control.SetWriteDeadline(time.Now().Add(a.options.Timeouts.ImportStall)); err != nil {
				return fmt.Errorf("setting the write deadline: %w", err)
			}
			if w.status == 0 {
				w.Header().Set("Content-Type", contentTypeNDJSON)
				w.Header().Set("X-Content-Type-Options", "nosniff")
				w.WriteHeader(http.StatusOK)
			}
			return encoder.Encode(v)
		}}
		err = run.read(r.Context(), body)
		if body.stalled {
			err = nba.Errorf(codeRequestTimeout, "the body stalled for more than %s", a.options.Timeouts.ImportStall)
		}
		if err != nil && run.done == 0 && w.status == 0 {
			return err
		}
		if fault := run.finish(err, id); fault != nil {
			logInternal(a.options.Logger, fault, id, op.path)
		}
		return run.failed
	}
}
