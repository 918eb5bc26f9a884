package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arbiterhq/arbiter/cluster/blob"
	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/peer"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/wal"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Options describe a Router.
type Options struct {
	// Dir is the data folder. It is created if it does not exist.
	Dir string
	// DataGroups is the number of data groups of a new folder; an existing one keeps its own.
	DataGroups int
	// Group and Store tune the data groups and the control group.
	Group raftgroup.Options
	Store store.Options
	// Cluster is this node's place among others; nil for a node that stands alone.
	Cluster *Cluster
	// StartTimeout bounds how long Open waits for all groups to be ready, JoinTimeout how long a node looks
	// for one that lets it in.
	StartTimeout, JoinTimeout time.Duration
	// MaxHistory bounds the interactions one call of History returns.
	MaxHistory int
	// BulkBytes bounds one log entry of an import.
	BulkBytes int
	// OnControl is called with every new state of the control group, in the order of the log, by the
	// goroutine that applies it: it must be quick. A write returns after its state was announced.
	OnControl func(*fsm.ControlState)
	// KeepInterval is how often a leader looks for what is older than the retention, and MarkInterval
	// how often the replicas of a group that has news compare their state.
	KeepInterval, MarkInterval time.Duration
	// OnTimers, if set, is told by a leader how many timers one operation fired, and how long after its time
	// the first of them did.
	OnTimers func(fired uint64, late time.Duration)
	// Release names this release to people.
	Release string
	// Metrics counts; nil counts nothing.
	Metrics *raftgroup.Metrics
	Logger  *slog.Logger
}

// Default fills in what is zero.
func (o Options) Default() Options {
	if o.DataGroups == 0 {
		o.DataGroups = 4
	}
	o.Cluster = o.Cluster.withDefaults()
	if o.StartTimeout == 0 {
		o.StartTimeout = 30 * time.Second
	}
	if o.JoinTimeout == 0 {
		o.JoinTimeout = 2 * time.Minute
	}
	if o.MaxHistory == 0 {
		o.MaxHistory = 1000
	}
	if o.BulkBytes == 0 {
		o.BulkBytes = 1 << 20
	}
	if o.KeepInterval == 0 {
		o.KeepInterval = time.Second
	}
	if o.MarkInterval == 0 {
		o.MarkInterval = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Group, o.Store = o.Group.Default(), o.Store.Default()
	return o
}

// Validate reports every setting that cannot work. Call it on what Default returned.
func (o Options) Validate() error {
	problems := []error{o.Group.Validate(), o.Store.Validate()}
	if o.Dir == "" {
		problems = append(problems, errors.New("no data folder"))
	}
	if o.DataGroups < 1 || o.DataGroups > store.MaxDataGroups {
		problems = append(problems, fmt.Errorf("%d data groups: between 1 and %d", o.DataGroups, store.MaxDataGroups))
	}
	if o.BulkBytes < 4<<10 || o.BulkBytes > command.MaxOpBytes {
		problems = append(problems, fmt.Errorf("BulkBytes is %d: between 4 KiB and %d", o.BulkBytes, command.MaxOpBytes))
	}
	if o.MaxHistory < 1 || o.StartTimeout <= 0 || o.KeepInterval <= 0 || o.MarkInterval <= 0 {
		problems = append(problems, errors.New("MaxHistory, StartTimeout, KeepInterval and MarkInterval must be positive"))
	}
	problems = append(problems, o.Cluster.validate())
	return errors.Join(problems...)
}

// Router leads to the groups of one data folder and, in a cluster, to those of the other nodes. It is
// safe for concurrent use.
type Router struct {
	options   Options
	folder    *store.Folder
	log       *wal.Log   // of all groups
	port      *peer.Port // nil alone, as are mesh and net
	mesh      *raftgroup.Mesh
	net       *network
	data      atomic.Pointer[[]*dataGroup] // see groups
	control   *Control
	blobs     *blob.Store
	keeper    keeper
	conductor conductor
	leases    leaser
	wakes     wakes
	timing    timing
	cuts      cuts
	readings  sync.Pool
	closing   sync.Once
	closed    error // what Close gives
	// handingOver is set when the node is about to close: it gives and takes no lead any more.
	handingOver atomic.Bool
}

// controlGroup is the number of the control group; data group i has the number i+1.
const controlGroup = 0

type dataGroup struct {
	shard
	machine *fsm.Data // nil without a replica here
	group   *raftgroup.Group
	state   *raftgroup.State
}

// Open opens the data folder and starts its groups. The folder is created if it does not exist. A
// node that stands alone waits until all its groups are ready; in a cluster that takes other nodes
// and may last, so Ready tells. Close ends it.
func Open(ctx context.Context, options Options) (*Router, error) {
	options = options.Default()
	if err := options.Validate(); err != nil {
		return nil, fmt.Errorf("router options: %w", err)
	}
	found, err := options.admit(ctx)
	if err != nil {
		return nil, err
	}
	folder, err := store.OpenFolder(options.Dir, found)
	if err != nil {
		return nil, err
	}
	r := &Router{options: options, folder: folder, wakes: newWakes(), timing: newTiming(), cuts: cuts{held: map[uint64]*heldCut{}}}
	r.setGroups(make([]*dataGroup, folder.Node().DataGroups))
	r.options.Store.Space = folder.Space()
	r.leases.begin(r)
	r.readings.New = func() any { return &Reading{router: r} }
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Router) start(ctx context.Context) (err error) {
	if r.blobs, err = blob.Open(r.folder.Blobs()); err != nil {
		return err
	}
	logOptions := wal.Options{SegmentBytes: int64(r.options.Group.SegmentBytes), Logger: r.options.Logger}
	if r.log, err = wal.Open(r.folder.Log(), logOptions); err != nil {
		return err
	}
	if err := r.join(); err != nil {
		return err
	}
	if r.control, err = r.openControl(); err != nil {
		return err
	}
	if r.net != nil {
		r.follow()
	}
	var starts errgroup.Group
	opened := make([]*dataGroup, len(r.groups()))
	for i := range opened {
		starts.Go(func() (err error) {
			opened[i], err = r.openAtStart(i)
			return err
		})
	}
	err = starts.Wait()
	r.setGroups(opened)
	if err != nil {
		return err
	}
	if r.net != nil {
		err = r.serve()
	} else {
		err = r.waitReady(ctx)
	}
	if err == nil {
		r.keeper.begin(r)
		r.timing.begin(r)
	}
	return err
}

// waitReady waits for the groups of a node that stands alone.
func (r *Router) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.options.StartTimeout)
	defer cancel()
	if err := r.control.group.WaitReady(ctx); err != nil {
		return err
	}
	for _, d := range r.groups() {
		if err := d.group.WaitReady(ctx); err != nil {
			return err
		}
	}
	return r.announce(ctx)
}

// aloneID names a node that stands alone as the voter of its groups. It is stored in their logs.
const aloneID = "node-1"

func (r *Router) groupConfig(s *shard, dir string) raftgroup.Config {
	config := raftgroup.Config{Name: s.name, Dir: dir, Log: r.log, NodeID: aloneID, Options: r.options.Group, Metrics: r.options.Metrics, Logger: r.options.Logger}
	if r.net != nil {
		config.NodeID, config.Mesh = r.net.self, r.mesh
		config.Voters, config.Preferred, config.Join = s.keepers(), s.preferred(), r.founded()
	}
	return config
}

// openData makes data group i as it stands here: with the replica, if that is to be opened.
func (r *Router) openData(i int, open bool) (*dataGroup, error) {
	dir := r.folder.Data(i)
	d := &dataGroup{shard: shard{name: filepath.Base(dir), number: uint64(i) + 1, net: r.net}}
	if r.net != nil {
		d.placed.Store(r.place(i))
	}
	if !open {
		return d, nil
	}
	state, err := raftgroup.OpenState(dir, r.options.Store, r.options.Logger)
	if err != nil {
		return nil, fmt.Errorf("group %s: %w", d.name, err)
	}
	d.state = state
	if d.machine, err = fsm.NewData(state.Store); err == nil {
		d.machine.Ring(r.ring)
		d.group, err = raftgroup.Open(r.groupConfig(&d.shard, dir), d.machine)
	}
	if err != nil {
		return nil, errors.Join(err, state.Close())
	}
	d.local, d.shard.machine = d.group, d.machine
	return d, nil
}

// Close finishes what is under way, refuses what waits, and closes all groups and the folder. Called
// again it gives the same answer.
func (r *Router) Close() error {
	r.closing.Do(func() { r.closed = r.close() })
	return r.closed
}

func (r *Router) close() error {
	r.keeper.end()
	r.timing.end()
	r.leases.end()
	r.cuts.end()
	r.conductor.end()
	if r.net != nil {
		r.net.close()
	}
	var closing errgroup.Group
	groups := r.groups()
	problems := make([]error, len(groups)+1)
	for i, d := range groups {
		if d != nil && d.group != nil {
			closing.Go(func() error {
				problems[i] = errors.Join(d.group.Close(), d.state.Close())
				return nil
			})
		}
	}
	if r.control != nil {
		problems[len(groups)] = errors.Join(r.control.group.Close(), r.control.state.Close())
	}
	_ = closing.Wait() // the functions return nil; see problems
	if r.log != nil {
		problems = append(problems, r.log.Close())
	}
	return errors.Join(append(problems, r.leave(), r.folder.Close())...)
}

// Ready is nil when every group can be written and read through this node. The error names those
// that cannot.
func (r *Router) Ready() error {
	if r.net != nil {
		return r.clusterReady()
	}
	if err := r.control.group.Ready(); err != nil {
		return err
	}
	for _, d := range r.groups() {
		if err := d.group.Ready(); err != nil {
			return err
		}
	}
	return r.leveled()
}

// Control is the control group.
func (r *Router) Control() *Control { return r.control }

// Blobs are the module bytes by digest.
func (r *Router) Blobs() *blob.Store { return r.blobs }

// ClusterID names the cluster this data folder belongs to.
func (r *Router) ClusterID() string { return r.folder.Node().ClusterID }

// Subjects is the number of subjects stored on this node.
func (r *Router) Subjects() int64 {
	total := int64(0)
	for _, d := range r.groups() {
		if d.machine != nil {
			total += d.machine.Subjects()
		}
	}
	return total
}

// Snapshot takes a snapshot of every group here now, which truncates the logs.
func (r *Router) Snapshot() error {
	problems := []error{r.control.group.Snapshot()}
	for _, d := range r.groups() {
		if d.group != nil {
			problems = append(problems, d.group.Snapshot())
		}
	}
	return errors.Join(problems...)
}

// groups are the data groups by number, as they stand now. The slice is not changed: a group that is opened
// or dropped here, because its replicas move, has another dataGroup in the next one. Look it up for each
// call, and keep what shall outlive that by the number of the group.
func (r *Router) groups() []*dataGroup { return *r.data.Load() }

func (r *Router) setGroups(groups []*dataGroup) { r.data.Store(&groups) }

func (r *Router) bySlot(slot int) *dataGroup {
	groups := r.groups()
	return groups[groupOf(slot, len(groups))]
}

func (r *Router) byRef(ref nba.SubjectRef) *dataGroup { return r.bySlot(Slot(ref)) }
