// Package stream reads Kafka topics whose messages are events, and hands the events to the data groups of the
// cluster so that each is applied once, whatever crashes in between.
//
// A partition is read by one node at a time, the one that leads the data group the partition belongs to. What
// was read is not noted in Kafka but in the data groups: each group has a cursor for each partition, which moves
// in the log entry that applies the events it comes with, and only from where the reader thinks it is. A reader
// that takes over begins at the least cursor of all groups; groups are not given what they have. Two nodes that
// read the same partition for a while do no harm: the second finds the cursor moved.
package stream

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strconv"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/kafka"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Config is one stream.
type Config struct {
	// Name names the stream to people and in the stored cursors. Under another name a stream begins anew.
	Name  string
	Kafka kafka.ConsumerOptions
	// Format is how messages are written, and Mapping where a message of FormatJSON holds what an event needs.
	Format  Format
	Mapping Mapping
	// Latest has a stream that was never read begin at the end of the topic instead of its beginning.
	Latest bool
	// MaxMessages and MaxBytes bound the messages that are handed on at once; 0 is 1024 and 512 KiB. A larger
	// message goes alone.
	MaxMessages, MaxBytes int
	// OwnEvery and NoteEvery are how often the reader looks which partitions are its own, and how often it moves
	// the cursors of groups that had no events; 0 is 250 ms and 1 s.
	OwnEvery, NoteEvery time.Duration
	Logger              *slog.Logger
	Metrics             *Metrics
}

// The defaults and limits of a Config.
const (
	defaultMessages  = 1024
	defaultBytes     = 512 << 10
	defaultOwnEvery  = 250 * time.Millisecond
	defaultNoteEvery = time.Second
	maxName          = 64
)

func (c Config) withDefaults() Config {
	if c.MaxMessages == 0 {
		c.MaxMessages = defaultMessages
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultBytes
	}
	if c.OwnEvery == 0 {
		c.OwnEvery = defaultOwnEvery
	}
	if c.NoteEvery == 0 {
		c.NoteEvery = defaultNoteEvery
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Validate reports everything that cannot work.
func (c *Config) Validate() error {
	problems := []error{c.Kafka.Validate(), c.Mapping.validate(c.Format)}
	if c.Name == "" || len(c.Name) > maxName {
		problems = append(problems, fmt.Errorf("a stream needs a name of up to %d characters", maxName))
	}
	if c.Kafka.Topic == "" {
		problems = append(problems, errors.New("a stream needs a topic"))
	}
	if c.MaxMessages < 0 || c.MaxMessages > command.MaxEvents || c.MaxBytes < 0 || c.MaxBytes > command.MaxOpBytes/2 {
		problems = append(problems, fmt.Errorf("MaxMessages is %d and MaxBytes %d: at most %d and %d", c.MaxMessages, c.MaxBytes, command.MaxEvents, command.MaxOpBytes/2))
	}
	if c.Metrics == nil {
		problems = append(problems, errors.New("a stream needs metrics"))
	}
	return errors.Join(problems...)
}

// Groups are the data groups of the cluster, for a reader. They are called from several goroutines.
type Groups interface {
	// EventGroups is how many there are; EventGroup is the one an event belongs to.
	EventGroups() int
	EventGroup(e *nba.IncomingEvent) int
	// StreamCursors are the cursors of a stream in all groups; 0 where it has none.
	StreamCursors(ctx context.Context, stream string) ([]uint64, error)
	// AcceptStream applies events of a group in the log entry that moves its cursor. An error of CodeConflict
	// says that the cursor is not at step.From. After any other it may have happened or not; calling again with
	// the same step is safe.
	AcceptStream(ctx context.Context, group int, step command.StreamStep, events []nba.IncomingEvent) ([]nba.EventReceipt, error)
	// NoteStreams moves cursors of a group without events; steps that do not fit are passed over.
	NoteStreams(ctx context.Context, group int, steps []command.StreamStep) error
	// LeadsGroup tells whether this node leads a group.
	LeadsGroup(group int) bool
}

// cursorName names a partition in the stored cursors.
func cursorName(stream string, partition int32) string {
	return stream + "/" + strconv.Itoa(int(partition))
}

// homeOf is the group a partition belongs to: the node that leads it reads the partition. Partitions of one
// stream go round the groups, streams begin at different ones.
func homeOf(stream string, partition int32, groups int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(stream))
	return (int(h.Sum32()%uint32(groups)) + int(partition)) % groups
}

// A stored cursor is the offset of the next message to read, and one more: 0 is no cursor.
func cursorOf(next int64) uint64               { return uint64(next) + 1 }
func nextOf(cursor uint64) int64               { return int64(cursor) - 1 }
func handled(cursor uint64, offset int64) bool { return cursor > 0 && offset < nextOf(cursor) }
