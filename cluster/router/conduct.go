package router

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/membership"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
)

// Where groups are kept stands in the control group's state: the map. Three things follow from it, each on
// its own, so that whoever leads next goes on where the one before stopped:
//
//   - every node opens the groups that the map gives it, and drops those that it does not once their
//     leaders say that they count without it;
//   - the leader of a group brings its seats nearer to the map, one change at a time (membership.Next);
//   - the leader of the control group changes the map, a few groups at a time (membership.Plan; plan.go).

const (
	// conductEvery is how often that is looked at.
	conductEvery = 200 * time.Millisecond
	// seatTimeout bounds one change of seats.
	seatTimeout = 10 * time.Second
)

// conductor does it.
type conductor struct {
	router *Router
	cancel context.CancelFunc
	done   sync.WaitGroup
	tended sync.Map // numbers of groups whose seats are being changed
	planner
}

func (c *conductor) begin(r *Router) {
	c.router = r
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.done.Go(func() { c.every(ctx, conductEvery, c.arrange) })
	c.done.Go(func() { c.every(ctx, planEvery, c.plan) })
}

// end waits until everything is over.
func (c *conductor) end() {
	if c.cancel != nil {
		c.cancel()
		c.done.Wait()
	}
}

func (c *conductor) every(ctx context.Context, pause time.Duration, do func(context.Context)) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			do(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// founded tells whether the map is in the state; until then everything stands where the list of nodes that
// founded the cluster puts it.
func (r *Router) founded() bool {
	return r.folder.Node().Joined || r.control != nil && r.control.State().Members.Version > 0
}

// place is where data group i shall be kept.
func (r *Router) place(i int) *placed {
	if m := &r.control.State().Members; m.Version > 0 && i < len(m.Groups) {
		return &placed{keepers: m.Groups[i].Replicas, preferred: m.Groups[i].Leader}
	}
	node := r.folder.Node()
	keepers, leader := placement(node.Nodes, i, node.Replicas)
	return &placed{keepers: keepers, preferred: leader}
}

// openAtStart opens a data group if this node shall keep it, or did.
func (r *Router) openAtStart(i int) (*dataGroup, error) {
	open := r.net == nil
	if !open {
		_, err := os.Stat(r.folder.Data(i))
		open = err == nil
	}
	if !open && !r.folder.Node().Joined || !open && r.control.State().Members.Version > 0 {
		open = slices.Contains(r.place(i).keepers, r.net.self)
	}
	return r.openData(i, open)
}

// follow takes in who the nodes are and where the groups shall be kept.
func (r *Router) follow() {
	addresses := r.addresses()
	nodes := make([]string, 0, len(addresses))
	for id := range addresses {
		nodes = append(nodes, id)
	}
	slices.Sort(nodes)
	if !slices.Equal(nodes, r.net.nodes()) {
		r.net.known.Store(&nodes)
	}
	r.port.SetNodes(addresses)
	m := &r.control.State().Members
	control := &placed{keepers: nodes, preferred: nodes[0]}
	if m.Version > 0 {
		control.preferred = m.Voters[0]
		for _, id := range m.Voters {
			if n, ok := m.Node(id); ok && !n.Draining {
				control.preferred = id
				break
			}
		}
	}
	r.control.put(control)
	for i, d := range r.groups() {
		if d != nil {
			d.put(r.place(i))
		}
	}
}

// put changes where a group shall be kept.
func (s *shard) put(to *placed) {
	old := s.placed.Swap(to)
	if group, ok := s.local.(*raftgroup.Group); ok && group != nil && (old == nil || old.preferred != to.preferred) {
		group.Prefer(to.preferred)
	}
}

// arrange opens, drops and tends.
func (c *conductor) arrange(ctx context.Context) {
	r := c.router
	r.follow()
	if !r.founded() {
		return
	}
	r.presentSelf(ctx)
	for i, d := range r.groups() {
		if ctx.Err() != nil {
			return
		}
		mine := slices.Contains(d.keepers(), r.net.self)
		switch {
		case mine && d.local == nil && r.control.State().Members.Version > 0:
			c.open(i, d)
		case !mine && d.local != nil:
			c.drop(ctx, i, d)
		}
	}
	for _, s := range r.shards() {
		c.tend(ctx, s)
	}
}

// presentSelf tells the cluster when this node has another address or zone than it is known for.
func (r *Router) presentSelf(ctx context.Context) {
	c := r.options.Cluster
	known, ok := r.control.State().Members.Node(c.NodeID)
	if !ok {
		return
	}
	change := command.ChangeNode{ID: c.NodeID}
	if own := c.address(); own != "" && own != known.Addr {
		change.Addr = &own
	}
	if c.Zone != "" && c.Zone != known.Zone {
		change.Zone = &c.Zone
	}
	if change.Addr == nil && change.Zone == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	if _, err := r.control.submit(ctx, &change, true); err != nil {
		r.options.Logger.Info("telling the cluster where this node is", "error", err)
	}
}

// open begins to keep a group.
func (c *conductor) open(i int, old *dataGroup) {
	r := c.router
	d, err := r.openData(i, true)
	if err != nil {
		r.options.Logger.Error("a group cannot be opened", "group", old.name, "error", err)
		return
	}
	d.hint.Store(old.hint.Load())
	r.options.Logger.Info("keeping a group", "group", d.name)
	r.exchange(i, d)
}

// exchange puts another dataGroup in the place of one.
func (r *Router) exchange(i int, d *dataGroup) {
	next := slices.Clone(r.groups())
	next[i] = d
	r.setGroups(next)
}

// drop ends that this node keeps a group, once the group's leader says that it counts without it.
func (c *conductor) drop(ctx context.Context, i int, d *dataGroup) {
	r := c.router
	if d.leads() {
		return
	}
	node, ok := d.leader()
	if !ok || node == r.net.self {
		node = d.preferred()
	}
	if node == r.net.self || !r.net.reachable(node) {
		return
	}
	standing, err := r.standing(ctx, node)
	if err != nil {
		return
	}
	switch g := standing.group(d.number); {
	case g == nil:
		d.learn(node, "")
		return
	case g.Changing || g.has(r.net.self):
		return
	}
	d.gone.Store(true)
	fresh, err := r.openData(i, false)
	if err != nil {
		r.options.Logger.Error("dropping a group", "group", d.name, "error", err)
		return
	}
	fresh.hint.Store(&node)
	r.exchange(i, fresh)
	if err := r.discard(i, d); err != nil {
		r.options.Logger.Error("dropping a group", "group", d.name, "error", err)
		return
	}
	r.options.Logger.Info("dropped a group, which others keep", "group", d.name)
}

// discard closes a group and removes its state and its log. Cut short, the rest is a replica that begins
// anew, and is dropped again.
func (r *Router) discard(i int, d *dataGroup) error {
	if err := errors.Join(d.group.Close(), d.state.Close()); err != nil {
		return err
	}
	if err := os.RemoveAll(r.folder.Data(i)); err != nil {
		return err
	}
	log, err := r.log.Group(d.name)
	if err != nil {
		return err
	}
	return log.TruncateTail(0)
}

// tend brings the seats of a group that this node leads nearer to the map. It does so in a goroutine, of
// which there is one for each group at most.
func (c *conductor) tend(ctx context.Context, s *shard) {
	r := c.router
	group, ok := s.local.(*raftgroup.Group)
	if !ok || group == nil || s.gone.Load() || !group.Leading() || r.handingOver.Load() {
		return
	}
	m := &r.control.State().Members
	if m.Version == 0 {
		return
	}
	change, due := membership.Next(seatsOf(group), r.wantedSeats(s), membership.Standing{Self: r.net.self, Up: r.net.reachable, CaughtUp: group.CaughtUp})
	if !due {
		return
	}
	if _, busy := c.tended.LoadOrStore(s.number, true); busy {
		return
	}
	c.done.Go(func() {
		defer c.tended.Delete(s.number)
		ctx, cancel := context.WithTimeout(ctx, seatTimeout)
		defer cancel()
		err := r.reseat(ctx, s, group, change)
		level := slog.LevelInfo
		if err != nil {
			level = slog.LevelDebug // it is tried again
		}
		r.options.Logger.Log(ctx, level, "changing who keeps a group", "group", s.name, "change", string(change.Kind), "node", change.Node, "error", err)
	})
}

// wantedSeats is who shall keep a group: of the control group all nodes, some of which vote.
func (r *Router) wantedSeats(s *shard) membership.Seats {
	if s.number != controlGroup {
		return membership.Seats{Voters: s.keepers()}
	}
	m := &r.control.State().Members
	want := membership.Seats{Voters: m.Voters}
	for _, id := range m.IDs() {
		if !slices.Contains(m.Voters, id) {
			want.Followers = append(want.Followers, id)
		}
	}
	return want
}

func seatsOf(group *raftgroup.Group) membership.Seats {
	seats := group.Seats()
	return membership.Seats{Voters: seats.Voters, Followers: seats.Followers}
}

func (r *Router) reseat(ctx context.Context, s *shard, group *raftgroup.Group, change membership.Change) error {
	switch change.Kind {
	case membership.ChangeAdd:
		return group.AddFollower(ctx, change.Node)
	case membership.ChangePromote:
		return group.Promote(ctx, change.Node)
	case membership.ChangeDemote:
		return group.Demote(ctx, change.Node)
	case membership.ChangeRemove:
		return group.Remove(ctx, change.Node)
	case membership.ChangeYield:
		if err := r.askReady(change.Node); err != nil {
			return err
		}
		return r.transfer(ctx, s, change.Node)
	}
	return nil
}
