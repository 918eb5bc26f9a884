package raftgroup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Group is one running raft group. It is safe for concurrent use.
type Group struct {
	config    Config
	options   Options
	logger    *slog.Logger
	machine   Machine
	raft      *raft.Raft
	log       *guardedLog
	snapshots *snapshots
	metrics   groupMetrics
	transport Transport
	own       bool // transport is ours to close

	queue   chan *call
	bulk    chan struct{} // one token for each import entry in flight
	calls   sync.Pool
	packing sync.Mutex // held by the worker that gathers the next entry
	// When the last entry was gathered, and of how many operations; guarded by packing.
	lastPack   time.Time
	lastPacked int

	// admission is read-locked while an operation is let in, and locked to close the door.
	admission sync.RWMutex
	closed    bool
	bulks     sync.WaitGroup
	// proposing is read-locked while raft has an entry of ours, and locked before raft is stopped:
	// raft forgets those that wait when it stops.
	proposing sync.RWMutex

	leading atomic.Bool // leader, and everything before is applied
	ready   chan struct{}
	onReady sync.Once
	failure atomic.Pointer[error]
	failed  chan struct{}
	quit    chan struct{}
	workers sync.WaitGroup
}

// Open starts a group. If its folder is new, this node becomes its only voter. Wait until it is
// ready with WaitReady; Close ends it.
func Open(config Config, machine Machine) (*Group, error) {
	config.Options = config.Options.Default()
	if err := config.Options.Validate(); err != nil {
		return nil, fmt.Errorf("options of group %s: %w", config.Name, err)
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Metrics == nil {
		config.Metrics = NewMetrics(nil)
	}
	g := &Group{
		config: config, options: config.Options, logger: config.Logger.With("group", config.Name), machine: machine,
		queue: make(chan *call, config.Options.MaxQueue), bulk: make(chan struct{}, config.Options.MaxBulkInFlight),
		ready: make(chan struct{}), failed: make(chan struct{}), quit: make(chan struct{}),
		transport: config.Transport, metrics: config.Metrics.of(config.Name),
	}
	g.metrics.counted(machine)
	g.calls.New = func() any { return &call{done: make(chan struct{}, 1)} }
	if err := g.start(); err != nil {
		return nil, fmt.Errorf("starting group %s: %w", config.Name, err)
	}
	return g, nil
}

func (g *Group) start() error {
	logger := newHCLog(g.logger)
	if err := g.openLog(); err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	if err := g.startRaft(logger); err != nil {
		return errors.Join(err, g.closeTransport(), g.log.Close())
	}
	g.workers.Add(2 + g.options.MaxInFlight)
	go g.watch()
	go g.keep()
	for range g.options.MaxInFlight {
		go g.pack()
	}
	return nil
}

func (g *Group) startRaft(logger hclog.Logger) error {
	g.snapshots = &snapshots{store: g.machine.Store()}
	if err := store.SyncFolder(g.config.Dir); err != nil {
		return err
	}
	if err := g.snapshots.begin(g.log); err != nil {
		return err
	}
	var kick func()
	if g.transport == nil {
		var inProcess *raft.InmemTransport
		_, inProcess = raft.NewInmemTransport(raft.ServerAddress(g.config.NodeID))
		g.transport, g.own = inProcess, true
		kick = func() { electAtOnce(inProcess) }
	}
	config := g.raftConfig(logger)
	existing, err := raft.HasExistingState(g.log, g.log, g.snapshots)
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	if !existing {
		voter := raft.Configuration{Servers: []raft.Server{{ID: config.LocalID, Address: g.transport.LocalAddr()}}}
		if err := raft.BootstrapCluster(config, g.log, g.log, g.snapshots, g.transport, voter); err != nil {
			return fmt.Errorf("founding the group: %w", err)
		}
	}
	g.raft, err = raft.NewRaft(config, observed{g.machine, g}, g.log, g.log, g.snapshots, g.transport)
	if err != nil {
		return fmt.Errorf("starting raft: %w", err)
	}
	if kick != nil {
		kick()
	}
	return nil
}

func (g *Group) raftConfig(logger hclog.Logger) *raft.Config {
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(g.config.NodeID)
	config.Logger = logger
	config.HeartbeatTimeout = g.options.HeartbeatTimeout
	config.ElectionTimeout = g.options.HeartbeatTimeout
	config.LeaderLeaseTimeout = g.options.HeartbeatTimeout
	config.MaxAppendEntries = maxAppendEntries
	config.NoSnapshotRestoreOnStart = true // the store holds the state; see snapshots.begin
	config.NoLegacyTelemetry = true
	config.TrailingLogs = g.options.TrailingEntries
	// Group.keep decides when to take snapshots: raft knows entries only, and some are large.
	config.SnapshotThreshold = math.MaxUint64
	config.SnapshotInterval = 24 * time.Hour
	return config
}

// maxAppendEntries bounds one batch of the state machine, and with it one transaction.
const maxAppendEntries = 64

// electAtOnce tells the only voter to become leader now, instead of after a heartbeat timeout in
// which nobody could have been heard. If the message is lost the timeout does it.
func electAtOnce(voter *raft.InmemTransport) {
	_, starter := raft.NewInmemTransport("starter")
	starter.Connect(voter.LocalAddr(), voter)
	request := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
	_ = starter.TimeoutNow("", voter.LocalAddr(), &request, &raft.TimeoutNowResponse{})
	_ = starter.Close() // it fails never
}

// Ready is nil when the group has a leader here that has applied everything before its election.
// Otherwise it is an *nba.Error with CodeUnavailable.
func (g *Group) Ready() error {
	if err := g.failure.Load(); err != nil {
		return nba.Errorf(nba.CodeUnavailable, "group %s has stopped after a fault and needs a restart of the node, which logged the reason", g.config.Name)
	}
	if !g.leading.Load() {
		return nba.Errorf(nba.CodeUnavailable, "group %s has no leader here yet: retry shortly", g.config.Name)
	}
	return nil
}

// WaitReady waits until the group was ready once, it failed, or ctx ended.
func (g *Group) WaitReady(ctx context.Context) error {
	select {
	case <-g.ready:
		return g.Ready()
	case <-g.failed:
		return fmt.Errorf("group %s: %w", g.config.Name, *g.failure.Load())
	case <-g.quit:
		return errClosed()
	case <-ctx.Done():
		return errors.Join(g.Ready(), ctx.Err())
	}
}

// fail stops the group for good.
func (g *Group) fail(err error) {
	if g.failure.CompareAndSwap(nil, &err) {
		g.leading.Store(false)
		close(g.failed)
		g.logger.Error("the group has stopped: free or repair the disk and restart the node", "error", err)
	}
}

// watch follows leadership, and stops raft once the group has failed.
func (g *Group) watch() {
	defer g.workers.Done()
	leader := g.raft.LeaderCh()
	for {
		select {
		case leads := <-leader:
			if leads {
				leads = g.raft.Barrier(0).Error() == nil && g.failure.Load() == nil
			}
			g.leading.Store(leads)
			if leads {
				g.onReady.Do(func() { close(g.ready) })
			}
		case <-g.failed:
			g.proposing.Lock()
			err := g.raft.Shutdown().Error()
			g.proposing.Unlock()
			if err != nil {
				g.logger.Error("stopping raft", "error", err)
			}
			return
		case <-g.quit:
			return
		}
	}
}

// Close ends the group: what is under way is finished, what waits is refused, and the log is closed.
// The machine is not called afterwards.
func (g *Group) Close() error {
	g.admission.Lock()
	if g.closed {
		g.admission.Unlock()
		return nil
	}
	g.closed = true
	g.admission.Unlock()
	g.leading.Store(false)
	close(g.quit)

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		g.workers.Wait()
		g.bulks.Wait()
	}()
	var problems []error
	g.machine.Store().Interrupt()
	select {
	case <-stopped:
	case <-time.After(g.options.StopTimeout):
		problems = append(problems, fmt.Errorf("group %s: operations are still under way after %s", g.config.Name, g.options.StopTimeout))
	}
	if err := g.raft.Shutdown().Error(); err != nil {
		problems = append(problems, fmt.Errorf("stopping raft: %w", err))
	}
	g.refuseQueued()
	if err := errors.Join(g.closeTransport(), g.log.Close()); err != nil {
		problems = append(problems, fmt.Errorf("closing the log: %w", err))
	}
	return errors.Join(problems...)
}

func (g *Group) closeTransport() error {
	if closer, ok := g.transport.(raft.WithClose); ok && g.own {
		return closer.Close()
	}
	return nil
}

// observed is the machine as raft sees it: timed, and with what must follow a batch.
type observed struct {
	Machine
	group *Group
}

// ApplyBatch implements raft.BatchingFSM.
func (o observed) ApplyBatch(entries []*raft.Log) []any {
	start := time.Now()
	answers := o.Machine.ApplyBatch(entries)
	if a, ok := o.Machine.(interface{ Announce() }); ok {
		a.Announce()
	}
	o.group.metrics.applied(o.Machine, time.Since(start), len(entries))
	if err := o.Err(); err != nil {
		o.group.fail(err)
	}
	return answers
}

// Apply implements raft.FSM.
func (o observed) Apply(entry *raft.Log) any { return o.ApplyBatch([]*raft.Log{entry})[0] }

var _ Machine = (*fsm.Data)(nil)
var _ Machine = (*fsm.Control)(nil)
