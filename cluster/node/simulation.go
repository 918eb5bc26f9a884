package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/simulation"
)

// Limits of simulations. One takes at most half of one core: after each stretch of work it rests as long.
const (
	maxSimulations        = 2  // under way at once
	maxSimulationsKept    = 16 // in all; the oldest that ended go first
	simulationStretch     = 2 * time.Millisecond
	simulationProgressing = 64 // subjects between two looks at the clock and at who cancels
)

// simulations are those this node was asked for. They live in memory: a restart forgets them.
type simulations struct {
	mu   sync.Mutex
	jobs []*simulationJob // oldest first; guarded by mu
}

type simulationJob struct {
	mu     sync.Mutex
	state  nba.Simulation // guarded by mu
	cancel context.CancelFunc
}

func (j *simulationJob) snapshot() nba.Simulation {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state
}

func (j *simulationJob) update(change func(s *nba.Simulation)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&j.state)
}

// simulationSide is a side that is ready to decide.
type simulationSide struct {
	catalog *catalog.Catalog
	version uint64
	models  *serving.Set
}

// Simulate begins a simulation: what two catalogs or plugin versions decide for a sample of the subjects in
// the groups that this node keeps. Nothing is recorded or reserved. It goes on after Simulate returned;
// Simulation tells how far it is. All mistakes of the request come at once.
func (n *Node) Simulate(ctx context.Context, req nba.SimulationRequest) (nba.Simulation, error) {
	if err := n.serving(); err != nil {
		return nba.Simulation{}, err
	}
	n.catchUp(ctx)
	if req.Sample == 0 {
		req.Sample = nba.DefaultSimulationSample
	}
	if req.Sample < 0 || req.Sample > nba.MaxSimulationSample {
		return nba.Simulation{}, nba.Invalid("/sample", fmt.Sprintf("a sample is between 1 and %d subjects", nba.MaxSimulationSample))
	}
	now := n.clock.Now().UTC().Truncate(time.Millisecond)
	if req.At == nil {
		req.At = &now
	}
	run := &simulationRun{node: n, req: req}
	if err := run.prepare(ctx); err != nil {
		run.release()
		return nba.Simulation{}, err
	}
	job := &simulationJob{state: nba.Simulation{ID: n.simulationID(), State: nba.SimulationRunning, CreatedAt: now}}
	background, cancel := context.WithCancel(n.ctx)
	job.cancel = cancel
	if err := n.simulations.add(job); err != nil {
		cancel()
		run.release()
		return nba.Simulation{}, err
	}
	n.followers.Add(1)
	go func() {
		defer n.followers.Done()
		defer cancel()
		defer run.release()
		run.job = job
		run.finish(run.run(background))
	}()
	return job.snapshot(), nil
}

// add keeps a job, unless too many are under way.
func (s *simulations) add(job *simulationJob) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	running := 0
	for _, other := range s.jobs {
		if other.snapshot().State == nba.SimulationRunning {
			running++
		}
	}
	if running >= maxSimulations {
		return nba.Errorf(nba.CodeOverloaded, "%d simulations are under way on this node: wait for one, or cancel it", running)
	}
	for len(s.jobs) >= maxSimulationsKept {
		at := slices.IndexFunc(s.jobs, func(j *simulationJob) bool { return j.snapshot().State != nba.SimulationRunning })
		s.jobs = slices.Delete(s.jobs, at, at+1) // there is one: fewer run than are kept
	}
	s.jobs = append(s.jobs, job)
	return nil
}

func (s *simulations) find(id string) (*simulationJob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, job := range s.jobs {
		if job.snapshot().ID == id {
			return job, nil
		}
	}
	return nil, nba.Errorf(nba.CodeNotFound, "there is no such simulation: the node that took it forgets it when it restarts, and keeps the last 16")
}

// simulationID is the id of a new simulation: a ULID, and in a cluster the node that has it.
func (n *Node) simulationID() string {
	id := ulid.Make().String()
	if n.cfg.Cluster != nil {
		id += "." + n.cfg.Cluster.NodeID
	}
	return id
}

// simulatedBy is another node that has a simulation; ok is false if it is this one's, or nobody's.
func (n *Node) simulatedBy(id string) (node string, ok bool) {
	_, node, _ = strings.Cut(id, ".")
	return node, node != "" && n.cfg.Cluster != nil && node != n.cfg.Cluster.NodeID && slices.Contains(n.router.Others(), node)
}

// simulationAt reads, or cancels, a simulation of another node.
func (n *Node) simulationAt(ctx context.Context, node, id string, cancel bool) (state nba.Simulation, err error) {
	var p packer
	p.text(id)
	p.bool(cancel)
	u, err := n.ask(ctx, node, methodSimulation, p.b)
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal([]byte(u.text()), &state); err != nil || u.bad {
		return state, errWire
	}
	return state, nil
}

// serveSimulation reads, or cancels, a simulation for another node.
func (n *Node) serveSimulation(_ context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	id, cancel := u.text(), u.bool()
	if err := u.err(); err != nil {
		return nil, err
	}
	state, err := n.simulationHere(id, cancel)
	return answer(err, func(p *packer) error {
		encoded, err := json.Marshal(state)
		p.text(string(encoded))
		return err
	})
}

func (n *Node) simulationHere(id string, cancel bool) (nba.Simulation, error) {
	job, err := n.simulations.find(id)
	if err != nil {
		return nba.Simulation{}, err
	}
	if cancel {
		job.update(func(s *nba.Simulation) {
			if s.State == nba.SimulationRunning {
				s.State = nba.SimulationCancelled
			}
		})
		job.cancel()
	}
	return job.snapshot(), nil
}

// Simulation is one that a node of this cluster was asked for.
func (n *Node) Simulation(ctx context.Context, id string) (nba.Simulation, error) {
	if node, ok := n.simulatedBy(id); ok {
		return n.simulationAt(ctx, node, id, false)
	}
	return n.simulationHere(id, false)
}

// Simulations are those that this node was asked for and remembers, newest first, without their results.
func (n *Node) Simulations(context.Context) []nba.Simulation {
	n.simulations.mu.Lock()
	defer n.simulations.mu.Unlock()
	list := []nba.Simulation{}
	for _, job := range slices.Backward(n.simulations.jobs) {
		state := job.snapshot()
		state.Result = nil
		list = append(list, state)
	}
	return list
}

// CancelSimulation ends one that is under way. One that has ended stays as it is.
func (n *Node) CancelSimulation(ctx context.Context, id string) (nba.Simulation, error) {
	if node, ok := n.simulatedBy(id); ok {
		return n.simulationAt(ctx, node, id, true)
	}
	return n.simulationHere(id, true)
}

// simulationRun is one simulation at work.
type simulationRun struct {
	node     *Node
	job      *simulationJob
	req      nba.SimulationRequest
	from, to simulationSide
	channels []string
	// dictionary is that both sides were made ready with.
	dictionary *nba.Dictionary

	tally   simulation.Tally
	out     [2]nba.Decision
	resumed time.Time
}

func (r *simulationRun) release() {
	for _, side := range []*simulationSide{&r.from, &r.to} {
		if side.models != nil {
			side.models.Release()
		}
	}
}

// prepare makes both sides ready.
func (r *simulationRun) prepare(ctx context.Context) (err error) {
	v := r.node.acquire()
	defer v.release()
	r.dictionary = v.state.Dictionary
	if r.from, err = r.node.simulationSide(ctx, v, r.req.From, "/from"); err != nil {
		return err
	}
	if r.to, err = r.node.simulationSide(ctx, v, r.req.To, "/to"); err != nil {
		return err
	}
	if len(r.req.Channels) > nba.MaxSimulationChannels {
		return nba.Invalid("/channels", fmt.Sprintf("at most %d channels", nba.MaxSimulationChannels))
	}
	for i, name := range r.req.Channels {
		_, had := r.from.catalog.Channel(name)
		_, has := r.to.catalog.Channel(name)
		if !had || !has {
			return nba.Invalid(fmt.Sprintf("/channels/%d", i), "one of the catalogs has no such channel")
		}
	}
	r.channels = r.req.Channels
	if len(r.channels) == 0 {
		for _, channel := range r.from.catalog.Channels {
			if _, has := r.to.catalog.Channel(channel.Name); has && len(r.channels) < nba.MaxSimulationChannels {
				r.channels = append(r.channels, channel.Name)
			}
		}
	}
	return nil
}

// simulationSide compiles the catalog of a side and loads its plugins.
func (n *Node) simulationSide(ctx context.Context, v *view, side nba.SimulationSide, at string) (ready simulationSide, err error) {
	if side.Document != "" && side.CatalogVersion != 0 {
		return ready, nba.Invalid(at, "a side has a catalogVersion or a document")
	}
	if side.Document != "" {
		if ready.catalog, err = n.compileCatalog(ctx, []byte(side.Document)); err != nil {
			return ready, err
		}
	} else if ready.catalog, ready.version, err = n.catalogFor(ctx, v, side.CatalogVersion); err != nil {
		return ready, err
	}
	digests := v.state.Plugins.Active()
	for _, name := range slices.Sorted(maps.Keys(side.Plugins)) {
		known, err := v.state.Plugins.Version(name, side.Plugins[name])
		if err != nil {
			return ready, err
		}
		if err := n.load(ctx, known.Digest); err != nil {
			return ready, err
		}
		digests[name] = known.Digest
	}
	for name, digest := range digests {
		if err := n.load(ctx, digest); err != nil {
			delete(digests, name) // its decisions are degraded, as they are outside
		}
	}
	ready.models, err = n.host.NewSetAside(digests, v.state.Dictionary)
	return ready, err
}

// errCancelled ends a simulation.
var errCancelled = errors.New("cancelled")

// pace rests after a stretch of work as long as that was.
func (r *simulationRun) pace(ctx context.Context) error {
	if ctx.Err() != nil {
		return errCancelled
	}
	worked := time.Since(r.resumed)
	if r.resumed.IsZero() {
		worked = 0
	}
	if worked >= simulationStretch {
		select {
		case <-ctx.Done():
			return errCancelled
		case <-time.After(min(worked, 50*time.Millisecond)):
		}
		worked = 0
	}
	if worked == 0 {
		r.resumed = time.Now()
	}
	return nil
}

func (r *simulationRun) run(ctx context.Context) error {
	sample, err := r.node.router.Sample(ctx, r.req.Seed, r.req.Sample, r.pace)
	if err != nil {
		return err
	}
	r.job.update(func(s *nba.Simulation) { s.Progress.Of = len(sample.Subjects) })
	seen := 0
	for i, ref := range sample.Subjects {
		if i%simulationProgressing == 0 {
			r.job.update(func(s *nba.Simulation) { s.Progress.Done = i })
		}
		if err := r.pace(ctx); err != nil {
			return err
		}
		there, err := r.subject(ctx, ref)
		if err != nil {
			return err
		}
		if there {
			seen++
		}
	}
	result := r.tally.Result()
	result.At, result.Seed, result.Channels, result.Subjects = *r.req.At, r.req.Seed, r.channels, seen
	result.Population, result.Groups, result.AllGroups = sample.Population, sample.Groups, sample.AllGroups
	r.from.name(&result.From)
	r.to.name(&result.To)
	r.job.update(func(s *nba.Simulation) { s.Progress.Done, s.Result = len(sample.Subjects), result })
	return nil
}

func (s *simulationSide) name(counts *nba.SimulationCounts) {
	counts.Catalog, counts.CatalogVersion, counts.Digest = s.catalog.Name, s.version, s.catalog.Digest
}

// finish tells how a simulation ended.
func (r *simulationRun) finish(err error) {
	r.job.update(func(s *nba.Simulation) {
		switch {
		case s.State == nba.SimulationCancelled || errors.Is(err, errCancelled):
			s.State, s.Result = nba.SimulationCancelled, nil
		case err != nil:
			s.State, s.Problem = nba.SimulationFailed, "a fault of ours: see the log of the node"
			r.node.logger.Error("a simulation failed", "id", s.ID, "error", err)
		default:
			s.State = nba.SimulationDone
		}
	})
}

// subject decides for one subject in every channel, on both sides. there is false if it is gone.
func (r *simulationRun) subject(ctx context.Context, ref nba.SubjectRef) (there bool, err error) {
	reading, err := r.node.router.AcquireAny(ref)
	if nba.CodeOf(err) == nba.CodeSubjectUnknown {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer reading.Release()
	for _, channel := range r.channels {
		seed := xxhash.Sum64String(fmt.Sprintf("%d %s %s %s", r.req.Seed, ref.Type, ref.ID, channel))
		for i, side := range []*simulationSide{&r.from, &r.to} {
			if err := r.decide(ctx, reading, side, ref, channel, seed, &r.out[i]); err != nil {
				return false, err
			}
		}
		r.tally.Add(ref, channel, &r.out[0], &r.out[1])
	}
	return true, nil
}

func (r *simulationRun) decide(ctx context.Context, reading *router.Reading, side *simulationSide, ref nba.SubjectRef, channel string, seed uint64, out *nba.Decision) error {
	req := &nba.DecisionRequest{Subject: ref, Channel: channel, Options: nba.DecisionOptions{Explain: nba.ExplainReasons, Simulate: true}}
	if err := engine.ValidateRequest(req, side.catalog); err != nil {
		return err
	}
	in := engine.Input{
		Subject: reading, Dictionary: r.dictionary, Catalog: side.catalog, CatalogVersion: side.version,
		Scorer: side.models, Strategy: side.models, Request: req, Now: *r.req.At, Seed: seed,
	}
	if len(side.catalog.Contacts.Policies) > 0 {
		var err error
		if in.Contacts, err = reading.Contacts(); err != nil {
			return err
		}
	}
	return r.node.engine.Decide(ctx, in, out)
}
