package raftgroup

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/wal"
)

// Machine is the state machine of a group: *fsm.Data or *fsm.Control. Raft calls it from one
// goroutine.
type Machine interface {
	raft.BatchingFSM
	// Position is where the machine stands in the log.
	Position() fsm.Position
	// StateBytes is about the size of its state on disk.
	StateBytes() int64
	// Store is what holds its state.
	Store() *store.Store
	// Err tells why the machine stopped.
	Err() error
}

// Transport carries the messages of one group between its voters.
type Transport = raft.Transport

// Config describes one group.
type Config struct {
	// Name is that of the group in logs and metrics, such as "data-00".
	Name string
	// Dir holds the state of the group, and its log if Log is nil. It exists.
	Dir string
	// Log is the log of the node, which the caller closes after the group. nil: the group has one of
	// its own.
	Log *wal.Log
	// NodeID names this voter for good.
	NodeID string
	// Voters are the nodes that keep the group, sorted, the same on each of them, and this one among
	// them. Mesh leads to the others. Empty, without Mesh: this node alone. They are those of a new group;
	// later the log tells.
	Voters []string
	Mesh   *Mesh
	// Followers keep a new group beside the voters, without a vote.
	Followers []string
	// Join tells that the group exists elsewhere: a new folder does not found it, but waits for a leader
	// to bring it in; see Group.AddFollower. Voters and Followers do not matter then.
	Join bool
	// Preferred is the voter that stands for election first; see Group.Prefer. Empty: the first.
	Preferred string
	// Transport reaches the other voters if Mesh is nil. nil is a transport within the process, for one voter.
	Transport Transport
	Options   Options
	Metrics   *Metrics     // nil: none
	Logger    *slog.Logger // nil: slog.Default
}

// Options tune a group.
type Options struct {
	// MaxQueue bounds the operations that wait to be packed; one more is refused as overloaded.
	MaxQueue int
	// MaxEntryOps and MaxEntryBytes bound the entries that concurrent operations are packed into.
	MaxEntryOps   int
	MaxEntryBytes int
	// Linger is the least time between two entries while several callers are about.
	Linger time.Duration
	// MaxInFlight bounds the entries that are proposed and not yet applied.
	MaxInFlight int
	// MaxBulkInFlight bounds the same for the entries of imports.
	MaxBulkInFlight int
	// SnapshotEntries and SnapshotBytes tell how much log may gather before a snapshot lets it be
	// truncated. With a state larger than SnapshotBytes, its size is the limit: the work of
	// snapshots stays in proportion to that of writing.
	SnapshotEntries uint64
	SnapshotBytes   int64
	// SnapshotInterval is how often that is looked at.
	SnapshotInterval time.Duration
	// TrailingEntries stay in the log after a snapshot, for followers that are a little behind.
	TrailingEntries uint64
	// SendBytes is how many bytes of a state are sent to another node in a second, so that a replica that
	// moves does not take processor and network from calls.
	SendBytes int
	// SegmentBytes is the size of a log file, which is allocated at once, if the group has a log of its
	// own.
	SegmentBytes int
	// HeartbeatTimeout is how long the only voter of a group waits before it elects itself, if it could
	// not at once.
	HeartbeatTimeout time.Duration
	// FallbackTimeout is how long one of several voters waits for its leader before it holds an
	// election, if nobody else found out that the leader is gone; see Mesh.
	FallbackTimeout time.Duration
	// LeaseTimeout is how long a leader that no majority confirms still calls itself so.
	LeaseTimeout time.Duration
	// StopTimeout bounds how long Close waits for what is under way.
	StopTimeout time.Duration
}

// Default fills in what is zero.
func (o Options) Default() Options {
	setInt := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	setTime := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	setInt(&o.MaxQueue, 8192)
	setInt(&o.MaxEntryOps, 256)
	setInt(&o.MaxEntryBytes, 256<<10)
	setInt(&o.MaxInFlight, 1)
	setInt(&o.MaxBulkInFlight, 2)
	setInt(&o.SegmentBytes, 16<<20)
	setInt(&o.SendBytes, 32<<20)
	setTime(&o.Linger, time.Millisecond)
	setTime(&o.SnapshotInterval, 5*time.Second)
	setTime(&o.HeartbeatTimeout, 500*time.Millisecond)
	setTime(&o.FallbackTimeout, 5*time.Second)
	setTime(&o.LeaseTimeout, 2*time.Second)
	setTime(&o.StopTimeout, 10*time.Second)
	if o.SnapshotEntries == 0 {
		o.SnapshotEntries = 64 << 10
	}
	if o.SnapshotBytes == 0 {
		o.SnapshotBytes = 256 << 20
	}
	if o.TrailingEntries == 0 {
		o.TrailingEntries = 256
	}
	return o
}

// Validate reports every setting that cannot work. Call it on what Default returned.
func (o Options) Validate() error {
	var problems []error
	positive := func(name string, v int64) {
		if v < 1 {
			problems = append(problems, fmt.Errorf("%s is %d: at least 1", name, v))
		}
	}
	positive("MaxQueue", int64(o.MaxQueue))
	positive("MaxEntryOps", int64(o.MaxEntryOps))
	positive("MaxEntryBytes", int64(o.MaxEntryBytes))
	positive("MaxInFlight", int64(o.MaxInFlight))
	positive("MaxBulkInFlight", int64(o.MaxBulkInFlight))
	positive("SnapshotBytes", o.SnapshotBytes)
	positive("SnapshotInterval", int64(o.SnapshotInterval))
	positive("Linger", int64(o.Linger))
	positive("StopTimeout", int64(o.StopTimeout))
	positive("SendBytes", int64(o.SendBytes))
	if o.SegmentBytes < 1<<20 || o.SegmentBytes > 1<<30 {
		problems = append(problems, fmt.Errorf("SegmentBytes is %d: between 1 MiB and 1 GiB", o.SegmentBytes))
	}
	if o.FallbackTimeout < time.Second || o.LeaseTimeout < 100*time.Millisecond {
		problems = append(problems, fmt.Errorf("FallbackTimeout is %s, LeaseTimeout %s: at least 1s and 100ms", o.FallbackTimeout, o.LeaseTimeout))
	}
	if o.HeartbeatTimeout < 20*time.Millisecond {
		problems = append(problems, fmt.Errorf("HeartbeatTimeout is %s: at least 20ms", o.HeartbeatTimeout))
	}
	return errors.Join(problems...)
}
