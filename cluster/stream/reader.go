package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/kafka"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// How long a reader waits for others, and how it goes on after an error.
const (
	pollFor       = 200 * time.Millisecond
	askTimeout    = 5 * time.Second
	recountEvery  = 30 * time.Second
	takeAgain     = 2 * time.Second
	firstPause    = 10 * time.Millisecond
	longPause     = time.Second
	complainEvery = 10 * time.Second
)

// errMoved is returned when another node reads a partition, or its cursor is elsewhere for another reason.
var errMoved = errors.New("the cursor of the partition is not where it was left")

// Reader reads the partitions of a stream that belong to this node. Run does the work; Partitions may be called
// at any time.
type Reader struct {
	cfg      Config
	groups   Groups
	consumer *kafka.Consumer

	count     atomic.Int64 // partitions of the topic, 0 while not known
	counted   time.Time
	owned     map[int32]*partition
	lookedAt  time.Time
	notedAt   time.Time
	complains map[string]time.Time // when what was logged last, by what
	mu        sync.Mutex           // guards complains
}

// partition is one that is read here.
type partition struct {
	number  int32
	name    string // of its cursors
	home    int    // the group it belongs to
	cursors []uint64
	next    int64 // of the next message; all before it are handed on
	lost    bool  // it is to be taken anew
	again   time.Time
	reading bool
}

// NewReader makes a reader; it reads once Run is called.
func NewReader(cfg Config, groups Groups) (*Reader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("stream %s: %w", cfg.Name, err)
	}
	cfg = cfg.withDefaults()
	consumer, err := kafka.NewConsumer(cfg.Kafka)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", cfg.Name, err)
	}
	return &Reader{cfg: cfg, groups: groups, consumer: consumer, owned: map[int32]*partition{}, complains: map[string]time.Time{}}, nil
}

// Close ends the reader after Run has ended, or if it was never called.
func (r *Reader) Close() { r.consumer.Close() }

// Run reads until ctx ends. While events cannot be handed on nothing is fetched.
func (r *Reader) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if time.Since(r.lookedAt) >= r.cfg.OwnEvery {
			r.own(ctx)
			r.lookedAt = time.Now()
		}
		if time.Since(r.notedAt) >= r.cfg.NoteEvery {
			r.note(ctx)
			r.notedAt = time.Now()
		}
		r.read(ctx)
	}
	for _, p := range r.owned {
		r.drop(p)
	}
}

// own takes the partitions that belong to this node and drops the others.
func (r *Reader) own(ctx context.Context) {
	if time.Since(r.counted) >= recountEvery || r.count.Load() == 0 {
		r.recount(ctx)
	}
	for number := range int32(r.count.Load()) {
		home := homeOf(r.cfg.Name, number, r.groups.EventGroups())
		p := r.owned[number]
		switch mine := r.groups.LeadsGroup(home); {
		case p == nil && mine:
			p = &partition{number: number, name: cursorName(r.cfg.Name, number), home: home}
			r.owned[number] = p
		case p == nil:
			continue
		case !mine:
			r.drop(p)
			continue
		}
		if p.lost {
			r.consumer.Release(number)
			p.lost, p.reading = false, false
		}
		if !p.reading && time.Now().After(p.again) {
			r.take(ctx, p)
		}
	}
}

func (r *Reader) recount(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	count, err := r.consumer.Partitions(ctx)
	if err != nil {
		r.failed(ctx, "topic", err)
		return
	}
	r.count.Store(int64(count))
	r.counted = time.Now()
}

// drop ends the reading of a partition.
func (r *Reader) drop(p *partition) {
	if p.reading {
		r.consumer.Release(p.number)
	}
	delete(r.owned, p.number)
	r.cfg.Metrics.forget(r.cfg.Name, p.number)
}

// take begins to read a partition where the groups are.
func (r *Reader) take(ctx context.Context, p *partition) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	next, err := r.position(ctx, p)
	if err != nil {
		p.again = time.Now().Add(takeAgain)
		r.failed(ctx, p.name, err)
		return
	}
	p.next, p.reading = next, true
	r.consumer.Assign(p.number, next)
	r.cfg.Logger.Info("reading a partition of a stream", "stream", r.cfg.Name, "partition", p.number, "offset", next)
}

// position finds out where a partition is to be read from, and sees to it that every group has a cursor.
func (r *Reader) position(ctx context.Context, p *partition) (int64, error) {
	cursors, err := r.groups.StreamCursors(ctx, p.name)
	if err != nil {
		return 0, err
	}
	ranges, err := r.consumer.Ranges(ctx, []int32{p.number})
	if err != nil {
		return 0, err
	}
	held := ranges[p.number]
	if err := r.begin(ctx, p, cursors, held); err != nil {
		return 0, err
	}
	p.cursors = cursors
	next := nextOf(slices.Min(cursors))
	switch {
	case next > held.End:
		return 0, fmt.Errorf("the partition ends at offset %d, before offset %d up to which it was read: if the topic was made anew, give the stream another name", held.End, next)
	case next < held.Start:
		r.cfg.Metrics.lost.WithLabelValues(r.cfg.Name).Add(float64(held.Start - next))
		r.cfg.Logger.Error("messages of a stream were removed by the broker before they were read", "stream", r.cfg.Name, "partition", p.number,
			"from", next, "to", held.Start-1)
		next = held.Start
	}
	return next, nil
}

// begin gives a cursor to groups that have none, before the first message is read. If some have one, the others
// get the least of these: until all had one nothing was read.
func (r *Reader) begin(ctx context.Context, p *partition, cursors []uint64, held kafka.Range) error {
	if !slices.Contains(cursors, 0) {
		return nil
	}
	first := cursorOf(held.Start)
	if r.cfg.Latest {
		first = cursorOf(held.End)
	}
	if known := slices.DeleteFunc(slices.Clone(cursors), func(c uint64) bool { return c == 0 }); len(known) > 0 {
		first = slices.Min(known)
	}
	var all errgroup.Group
	for g, cursor := range cursors {
		if cursor > 0 {
			continue
		}
		all.Go(func() error {
			_, err := r.groups.AcceptStream(ctx, g, command.StreamStep{Stream: p.name, Next: first}, nil)
			if err == nil {
				cursors[g] = first
			}
			return err
		})
	}
	return all.Wait()
}

// read waits for messages and hands them on.
func (r *Reader) read(ctx context.Context) {
	poll, cancel := context.WithTimeout(ctx, pollFor)
	batches, err := r.consumer.Poll(poll, r.cfg.MaxMessages)
	cancel()
	if err != nil && ctx.Err() == nil {
		r.unread(ctx, err)
	}
	var all errgroup.Group
	for i := range batches {
		b := &batches[i]
		// What follows on messages that were not handed on must not be handed on either.
		if p := r.owned[b.Partition]; p != nil && p.reading && !p.lost {
			all.Go(func() error {
				r.handOn(ctx, p, b)
				return nil
			})
		}
	}
	_ = all.Wait() // what failed is in the partitions
}

// unread takes in what could not be read.
func (r *Reader) unread(ctx context.Context, err error) {
	r.failed(ctx, "reading", err)
	var of *kafka.PartitionError
	if errors.Is(err, kafka.ErrOutOfRange) && errors.As(err, &of) {
		for _, p := range r.owned { // the error may be of several; taking one anew does no harm
			p.lost = true
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(firstPause):
	}
}

// handOn gives the messages of a batch to the groups, in pieces.
func (r *Reader) handOn(ctx context.Context, p *partition, b *kafka.Batch) {
	for rest := b.Messages; len(rest) > 0; {
		n := r.piece(rest)
		if err := r.step(ctx, p, rest[:n]); err != nil {
			p.lost = true
			return
		}
		rest = rest[n:]
		r.cfg.Metrics.position(r.cfg.Name, p.number, p.next, b.End)
	}
}

// piece is how many of the messages go at once.
func (r *Reader) piece(messages []kafka.Message) int {
	bytes := 0
	for i := range messages {
		bytes += len(messages[i].Value)
		if i > 0 && (i >= r.cfg.MaxMessages || bytes > r.cfg.MaxBytes) {
			return i
		}
	}
	return len(messages)
}

// step hands on messages, to all groups that they concern at the same time.
func (r *Reader) step(ctx context.Context, p *partition, messages []kafka.Message) error {
	byGroup := make([][]nba.IncomingEvent, len(p.cursors))
	for i := range messages {
		m := &messages[i]
		event := r.decode(p.number, m)
		group := p.home
		if event.Fault == nil {
			group = r.groups.EventGroup(&event)
		}
		if !handled(p.cursors[group], m.Offset) {
			byGroup[group] = append(byGroup[group], event)
		}
	}
	next := messages[len(messages)-1].Offset + 1
	var all errgroup.Group
	for group, events := range byGroup {
		if len(events) > 0 {
			all.Go(func() error { return r.accept(ctx, p, group, next, events) })
		}
	}
	if err := all.Wait(); err != nil {
		return err
	}
	p.next = next
	r.cfg.Metrics.messages.WithLabelValues(r.cfg.Name).Add(float64(len(messages)))
	return nil
}

// accept gives events to one group, again and again until that is done, this node is no longer the one to do it,
// or ctx ends.
func (r *Reader) accept(ctx context.Context, p *partition, group int, next int64, events []nba.IncomingEvent) error {
	step := command.StreamStep{Stream: p.name, From: p.cursors[group], Next: cursorOf(next)}
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		receipts, err := r.groups.AcceptStream(ctx, group, step, events)
		switch {
		case err == nil:
			p.cursors[group] = step.Next
			r.cfg.Metrics.received(r.cfg.Name, receipts)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case nba.CodeOf(err) == nba.CodeConflict || !r.groups.LeadsGroup(p.home):
			return errMoved
		}
		r.failed(ctx, p.name, err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// note moves the cursors of groups that had no events, so that they need not be shown these messages again.
func (r *Reader) note(ctx context.Context) {
	steps := make([][]command.StreamStep, r.groups.EventGroups())
	for _, p := range r.owned {
		if !p.reading || p.lost {
			continue
		}
		for g, cursor := range p.cursors {
			if to := cursorOf(p.next); cursor < to && len(steps[g]) < command.MaxSteps {
				steps[g] = append(steps[g], command.StreamStep{Stream: p.name, From: cursor, Next: to})
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	noted := make([]bool, len(steps))
	var all errgroup.Group
	for g := range steps {
		if len(steps[g]) > 0 {
			all.Go(func() error {
				noted[g] = r.groups.NoteStreams(ctx, g, steps[g]) == nil // else it is tried again soon
				return nil
			})
		}
	}
	_ = all.Wait() // the functions return nil
	for _, p := range r.owned {
		for g := range p.cursors {
			if i := slices.IndexFunc(steps[g], func(s command.StreamStep) bool { return s.Stream == p.name }); i >= 0 && noted[g] {
				p.cursors[g] = steps[g][i].Next
			}
		}
	}
}

// failed counts an error and logs it, the same one now and then.
func (r *Reader) failed(ctx context.Context, what string, err error) {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return
	}
	r.cfg.Metrics.errors.WithLabelValues(r.cfg.Name).Inc()
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.complains[what]) >= complainEvery {
		r.complains[what] = time.Now()
		r.cfg.Logger.Warn("a stream does not go on", "stream", r.cfg.Name, "at", what, "error", err)
	}
}
