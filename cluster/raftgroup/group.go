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

	// With several voters:
	mesh       *Mesh
	wire       *transport
	leadTerm   atomic.Uint64         // the term in which this node leads and has applied all before; 0: none
	freshUntil atomic.Int64          // until when Leading need not look again, in nanoseconds since 1970
	seated     atomic.Pointer[seats] // see seats
	preferred  atomic.Pointer[string]
	contacts   contacts
	age        age
	follower   follower
	applied    applied
	fates      fates
	born       time.Time   // when the group was opened
	young      atomic.Bool // newborn
	content    atomic.Bool // not leaderless; see Mesh.elect
	growing    sync.Once
	ctx        context.Context //nolint:containedctx // ends with the group
	stop       context.CancelFunc
	asking     sync.WaitGroup // see spawn

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

// Open starts a group. If its folder is new, its voters are those of the configuration, which must be
// the same on each of them; a group of several is founded once all of them have opened it. Wait until
// it is ready with WaitReady; Close ends it.
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
	if err := config.checkVoters(); err != nil {
		return nil, fmt.Errorf("group %s: %w", config.Name, err)
	}
	g := &Group{
		config: config, options: config.Options, logger: config.Logger.With("group", config.Name), machine: machine,
		queue: make(chan *call, config.Options.MaxQueue), bulk: make(chan struct{}, config.Options.MaxBulkInFlight),
		ready: make(chan struct{}), failed: make(chan struct{}), quit: make(chan struct{}),
		transport: config.Transport, metrics: config.Metrics.of(config.Name),
	}
	g.born = time.Now()
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.mesh = config.Mesh
	g.seated.Store(&seats{})
	if g.mesh == nil {
		g.seated.Store(&seats{voters: []string{config.NodeID}})
	}
	g.Prefer(config.Preferred)
	g.metrics.counted(machine)
	g.calls.New = func() any { return &call{done: make(chan struct{}, 1)} }
	if err := g.start(); err != nil {
		g.stop()
		return nil, fmt.Errorf("starting group %s: %w", config.Name, err)
	}
	return g, nil
}

func (g *Group) start() error {
	logger := newHCLog(g.logger)
	if g.mesh != nil {
		logger = newVoterLog(g.logger)
	}
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
	if g.mesh == nil {
		return nil
	}
	if err := g.mesh.add(g); err != nil {
		return errors.Join(err, g.Close())
	}
	return nil
}

func (g *Group) startRaft(logger hclog.Logger) error {
	g.snapshots = &snapshots{store: g.machine.Store(), rate: g.options.SendBytes}
	if err := store.SyncFolder(g.config.Dir); err != nil {
		return err
	}
	if err := g.repairLog(); err != nil {
		return err
	}
	if err := g.repairState(); err != nil {
		return err
	}
	if err := g.snapshots.begin(g.log); err != nil {
		return err
	}
	var kick func()
	if g.mesh != nil {
		g.wire = newTransport(g.mesh, g.config.Name, g.config.NodeID)
		g.transport, g.own = g.wire, true
	}
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
	if err := g.originate(config, existing); err != nil {
		return err
	}
	if err := g.readNewborn(); err != nil {
		return err
	}
	g.raft, err = raft.NewRaft(config, observed{g.machine, g}, g.log, g.log, g.snapshots, g.transport)
	if err != nil {
		return fmt.Errorf("starting raft: %w", err)
	}
	if g.wire != nil {
		current := g.raft.CurrentTerm
		g.wire.term.Store(&current)
	}
	if kick != nil {
		kick()
	}
	return nil
}

// originate sees to a group that has nothing here: it is founded, or waits for a leader that brings it in.
func (g *Group) originate(config *raft.Config, existing bool) error {
	if !existing && !g.config.Join {
		return g.found(config)
	}
	_, last, err := ends(g.log)
	if err != nil || g.mesh == nil || last > 0 {
		return err
	}
	at, err := g.snapshots.durable()
	if err != nil || at != nil {
		return err
	}
	return g.markNewborn() // what it acknowledged before, if anything, it does not know any more
}

// found writes the first entry of the log, which names the voters.
func (g *Group) found(config *raft.Config) error {
	var voters raft.Configuration
	nodes := g.config.Voters
	if g.mesh == nil {
		nodes = []string{g.config.NodeID}
	}
	for _, node := range nodes {
		voters.Servers = append(voters.Servers, raft.Server{ID: raft.ServerID(node), Address: raft.ServerAddress(node)})
	}
	for _, node := range g.config.Followers {
		voters.Servers = append(voters.Servers, raft.Server{Suffrage: raft.Nonvoter, ID: raft.ServerID(node), Address: raft.ServerAddress(node)})
	}
	if g.mesh != nil {
		if err := g.markNewborn(); err != nil {
			return err
		}
	} else {
		voters.Servers[0].Address = g.transport.LocalAddr()
	}
	if err := raft.BootstrapCluster(config, g.log, g.log, g.snapshots, g.transport, voters); err != nil {
		return fmt.Errorf("founding the group: %w", err)
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
	if g.mesh != nil { // see Mesh.elect
		config.HeartbeatTimeout, config.ElectionTimeout = g.options.FallbackTimeout, g.options.FallbackTimeout
		config.LeaderLeaseTimeout = g.options.FallbackTimeout / 2
		config.CommitTimeout = commitTimeout
	}
	config.MaxAppendEntries = maxAppendEntries
	config.NoSnapshotRestoreOnStart = true // the store holds the state; see snapshots.begin
	config.NoLegacyTelemetry = true
	config.ShutdownOnRemove = false
	config.TrailingLogs = g.options.TrailingEntries
	// Group.keep decides when to take snapshots: raft knows entries only, and some are large.
	config.SnapshotThreshold = math.MaxUint64
	config.SnapshotInterval = 24 * time.Hour
	return config
}

// maxAppendEntries bounds one batch of the state machine, and with it one transaction.
const maxAppendEntries = 64

// commitTimeout is how often a leader that is idle sends every follower how much is committed, and
// what may have been lost on the way.
const commitTimeout = 250 * time.Millisecond

// electAtOnce tells the only voter to become leader now, instead of after a heartbeat timeout in
// which nobody could have been heard. If the message is lost the timeout does it.
func electAtOnce(voter *raft.InmemTransport) {
	_, starter := raft.NewInmemTransport("starter")
	starter.Connect(voter.LocalAddr(), voter)
	request := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
	_ = starter.TimeoutNow("", voter.LocalAddr(), &request, &raft.TimeoutNowResponse{})
	_ = starter.Close() // it fails never
}

// Ready is nil when this node leads the group, as Leading tells. Otherwise it is an *nba.Error with
// CodeUnavailable, which wraps a *NotLeader unless the group has stopped.
func (g *Group) Ready() error {
	if g.failure.Load() != nil {
		return g.errStopped()
	}
	if !g.Leading() {
		return g.errNotLeader()
	}
	return nil
}

func (g *Group) errStopped() error {
	return nba.Errorf(nba.CodeUnavailable, "group %s has stopped after a fault and needs a restart of the node, which logged the reason", g.config.Name)
}

// WaitReady waits until the group was ready once, it failed, or ctx ended. With several voters it is
// also ready here once this node follows a leader and knows how old its own state may be.
func (g *Group) WaitReady(ctx context.Context) error {
	select {
	case <-g.ready:
		if g.mesh != nil {
			return nil
		}
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
		g.leadTerm.Store(0)
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
			g.lead(leads)
		case <-g.failed:
			g.proposing.Lock()
			err := g.stopRaft()
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

// stopRaft stops raft. Its requests to others that wait end with the transport.
func (g *Group) stopRaft() error {
	stopping := g.raft.Shutdown()
	if g.wire != nil {
		_ = g.wire.Close() // it fails never
	}
	return stopping.Error()
}

// spawn runs fn in a goroutine that Close waits for. It is false once the group is closed.
func (g *Group) spawn(fn func()) bool {
	g.admission.RLock()
	defer g.admission.RUnlock()
	if !g.closed {
		g.asking.Go(fn)
	}
	return !g.closed
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
	g.leadTerm.Store(0)
	if g.wire != nil {
		g.mesh.remove(g)
		g.wire.interrupt()
	}
	close(g.quit)
	g.stop()

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
	if err := g.stopRaft(); err != nil {
		problems = append(problems, fmt.Errorf("stopping raft: %w", err))
	}
	g.asking.Wait()
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
	o.group.fates.applied(entries, answers)
	o.group.applied.advanced()
	o.group.metrics.applied(o.Machine, time.Since(start), len(entries))
	if err := o.Err(); err != nil {
		o.group.fail(err)
	}
	o.Store().SlowDown()
	return answers
}

// Apply implements raft.FSM.
func (o observed) Apply(entry *raft.Log) any { return o.ApplyBatch([]*raft.Log{entry})[0] }

var _ Machine = (*fsm.Data)(nil)
var _ Machine = (*fsm.Control)(nil)
