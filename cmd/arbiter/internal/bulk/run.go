package bulk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
)

// Defaults and limits of a run.
const (
	DefaultInFlight = 1
	MaxInFlight     = 8
	DefaultRetryFor = 30 * time.Second

	firstBackoff = 100 * time.Millisecond
	longestWait  = 2 * time.Second
)

// Sender sends one chunk and returns when it is durable. It is called from up to Options.InFlight
// goroutines at once, and again with the same chunk after a failure.
type Sender interface {
	ImportSubjects(ctx context.Context, in client.ImportRequest) (client.ImportSummary, []client.ImportResult, error)
}

// Options say how a file is sent.
type Options struct {
	Sender   Sender
	Splitter *Splitter
	Format   Format
	Mapping  []byte
	// InFlight bounds the chunks on their way; 0 means DefaultInFlight. With more than one, chunks may
	// be applied in another order than the file's: only for files that hold each subject once.
	InFlight int
	// RetryFor is how long one chunk is tried again while the server cannot be reached or is not ready.
	RetryFor time.Duration
	// Checkpoint is updated as chunks are acknowledged, and written to CheckpointPath unless that is
	// empty.
	Checkpoint     *Checkpoint
	CheckpointPath string
	// Rejected is called for each rejected line, in the order of the file, with its line in the file.
	Rejected func(client.ImportResult) error
	// Written is called after each chunk's rejected lines; it writes them out and returns how long
	// their file is. It may be nil.
	Written func() (int64, error)
	// Acknowledged is called after each acknowledged chunk; it may be nil.
	Acknowledged func(*Checkpoint)
	// Waiting is called before a chunk is tried again; it may be nil.
	Waiting func(cause error, wait time.Duration)
}

// Interrupted is returned when an import stopped before its end. What the checkpoint says is safe.
type Interrupted struct {
	// Line is the first line that is not acknowledged.
	Line int
	// Cause is why it stopped.
	Cause error
}

// Error implements error.
func (i *Interrupted) Error() string {
	return fmt.Sprintf("the import stopped at line %d: %s", i.Line, i.Cause)
}

// Unwrap returns the cause.
func (i *Interrupted) Unwrap() error { return i.Cause }

// flight is one chunk on its way.
type flight struct {
	chunk Chunk
	// after is the chunk InFlight places before, which must be done before this one is sent; nil for
	// the first ones.
	after   *flight
	summary client.ImportSummary
	results []client.ImportResult
	err     error
	done    chan struct{} // closed when the fields above are set
}

// Run sends every chunk of the splitter. It returns an *Interrupted when it did not come to the end,
// after every goroutine it started has ended.
func Run(ctx context.Context, opts Options) error {
	if opts.InFlight == 0 {
		opts.InFlight = DefaultInFlight
	}
	if opts.InFlight < 1 || opts.InFlight > MaxInFlight {
		return fmt.Errorf("the chunks in flight are between 1 and %d", MaxInFlight)
	}
	ctx, cancel := context.WithCancel(ctx)
	var senders sync.WaitGroup
	defer senders.Wait()
	defer cancel()

	var window []*flight // in the order of the file
	atEnd := false
	var readErr error
	var recent []*flight // the last InFlight that were started
	for {
		// One chunk more than may be in flight is cut ahead, so that the server never waits for the file.
		for !atEnd && len(window) <= opts.InFlight {
			chunk, err := opts.Splitter.Next()
			if err != nil {
				atEnd = true
				if !errors.Is(err, io.EOF) {
					readErr = err
				}
				break
			}
			f := &flight{chunk: chunk, done: make(chan struct{})}
			if len(recent) == opts.InFlight {
				f.after, recent = recent[0], recent[1:]
			}
			window, recent = append(window, f), append(recent, f)
			senders.Go(func() { opts.deliver(ctx, f) })
		}
		if len(window) == 0 {
			break
		}
		f := window[0]
		<-f.done
		if err := opts.acknowledge(f); err != nil {
			return &Interrupted{Line: f.chunk.FirstLine, Cause: err}
		}
		window = window[1:]
	}
	if readErr != nil {
		return &Interrupted{Line: opts.Checkpoint.Line, Cause: readErr}
	}
	return nil
}

// deliver sends one chunk until it is acknowledged, refused, or out of time.
func (o *Options) deliver(ctx context.Context, f *flight) {
	defer close(f.done)
	if f.after != nil {
		<-f.after.done
		f.err, f.after = f.after.err, nil
		if f.err != nil {
			return
		}
	}
	request := client.ImportRequest{ContentType: o.Format.ContentType(), Mapping: o.Mapping,
		Header: o.Splitter.Header(), Data: f.chunk.Data}
	var failing time.Time
	backoff := firstBackoff
	for {
		f.summary, f.results, f.err = o.Sender.ImportSubjects(ctx, request)
		if f.err == nil || !Retryable(f.err) || ctx.Err() != nil {
			return
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		left := o.RetryFor - time.Since(failing)
		if left <= 0 {
			return
		}
		wait := min(backoff, left)
		if o.Waiting != nil {
			o.Waiting(f.err, wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		backoff = min(2*backoff, longestWait)
	}
}

// acknowledge counts the chunk, which is the next in the order of the file.
func (o *Options) acknowledge(f *flight) error {
	if f.err != nil {
		return f.err
	}
	// The server counts lines in what it was sent: the header, then the chunk.
	shift := f.chunk.FirstLine - 1 - o.Splitter.HeaderLines()
	for _, r := range f.results {
		r.Line += shift
		if err := o.Rejected(r); err != nil {
			return err
		}
	}
	c := o.Checkpoint
	c.Offset, c.Line = f.chunk.End, f.chunk.FirstLine+f.chunk.Lines
	c.Counts.add(f.summary)
	if o.Written != nil {
		size, err := o.Written()
		if err != nil {
			return err
		}
		c.ErrorBytes = size
	}
	if o.CheckpointPath != "" {
		if err := c.save(o.CheckpointPath); err != nil {
			return err
		}
	}
	if o.Acknowledged != nil {
		o.Acknowledged(c)
	}
	return nil
}

// Retryable tells whether the same chunk may be accepted a little later.
func Retryable(err error) bool {
	if _, ok := errors.AsType[*client.Unreachable](err); ok {
		return true
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		switch p.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
	}
	return false
}
