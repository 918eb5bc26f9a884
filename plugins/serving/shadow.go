package serving

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// The calls that wait to be scored in the shadow are few, and one goroutine scores them: what a node has no
// time for is left out and counted. shadowTimeout bounds how long one waits for an instance.
const (
	maxShadows    = 256
	shadowTimeout = time.Second
)

// shadows score calls a second time, by the candidate of a trial, after the decision has its answer. A
// decision only copies what the candidate reads; nothing that happens here can change it.
type shadows struct {
	pool sync.Pool // of *shadowJob

	mu     sync.Mutex
	closed bool // guarded by mu
	queue  chan *shadowJob
}

func newShadows() *shadows {
	return &shadows{queue: make(chan *shadowJob, maxShadows), pool: sync.Pool{New: func() any { return new(shadowJob) }}}
}

// shadowJob is one such call. It holds a reference to its Set.
type shadowJob struct {
	set        *Set
	trial      *trial
	rows       int // of the candidate
	subject    []byte
	candidates []byte
	incumbent  []float64 // the scores of the incumbent: one, or one for each candidate action
	scores     []float64
	parameters map[string]string // of the catalog
	model      *model
}

var _ wasm.Host = (*shadowJob)(nil)

// Param implements wasm.Host as for a decision.
func (j *shadowJob) Param(key string) (string, bool) {
	host := hostCall{model: j.model, parameters: j.parameters}
	return host.Param(key)
}

// Log implements wasm.Host: what is said in the shadow is dropped.
func (j *shadowJob) Log(wasm.LogLevel, []byte) {}

// Metric implements wasm.Host: what is counted in the shadow is dropped.
func (j *shadowJob) Metric(string, float64) {}

// put queues a job, or returns false.
func (s *shadows) put(job *shadowJob) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	select {
	case s.queue <- job:
		return true
	default:
		return false
	}
}

// give takes a job back.
func (s *shadows) give(job *shadowJob) {
	job.set.Release()
	job.set, job.trial, job.parameters, job.model = nil, nil, nil, nil
	s.pool.Put(job)
}

// run scores what is queued until close. What is left when ctx ends is given up.
func (s *shadows) run(ctx context.Context) {
	for job := range s.queue {
		if ctx.Err() == nil {
			job.run(ctx)
		}
		s.give(job)
	}
}

func (s *shadows) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.queue)
	}
}

// shadow hands the call on, if it is one of those that are. What the candidate reads is copied now, since
// the subject's record is given back before.
func (t *trial) shadow(s *Set, call *engine.ScoreCall, rows int) {
	share := uint64(t.ShadowPermille)
	if n := t.calls.Add(1); n*share/1000 == (n-1)*share/1000 {
		return
	}
	if !s.Acquire() {
		return // cannot be: the caller holds a reference
	}
	job := s.host.shadows.pool.Get().(*shadowJob)
	job.set, job.trial = s, t
	if err := job.copy(t.candidate, call, rows); err != nil || !s.host.shadows.put(job) {
		t.Tally.Dropped()
		s.host.shadows.give(job)
	}
}

// copy takes over what m reads of call, and the scores of the incumbent, of which rows are different.
func (j *shadowJob) copy(m *model, call *engine.ScoreCall, rows int) error {
	in := &m.inputs
	j.model, j.parameters = m, call.Parameters
	read := *call
	read.Reads = nil // what the shadow reads is no part of the decision
	if noted, ok := call.Subject.(*engine.Reads); ok {
		read.Subject = noted.Beneath()
	}
	touches, err := m.touches.read(in, &read)
	if err != nil {
		return err
	}
	defer m.touches.put(touches)
	j.rows = 1
	if in.candidateN > 0 {
		j.rows = len(call.Candidates)
	}
	j.subject = slices.Grow(j.subject[:0], 8*in.subjectN)[:8*in.subjectN]
	in.putSubject(j.subject, &read, touches)
	j.candidates = slices.Grow(j.candidates[:0], 8*in.candidateN*j.rows)[:8*in.candidateN*j.rows]
	if in.candidateN > 0 {
		in.putCandidates(j.candidates, call.Candidates, touches, nil)
	}
	j.incumbent = append(j.incumbent[:0], call.Out[:max(rows, j.rows)]...)
	return nil
}

// run scores and compares.
func (j *shadowJob) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, shadowTimeout)
	defer cancel()
	m, tally := j.trial.candidate, j.trial.Tally
	instance, err := m.version.pool.Acquire(ctx)
	if err != nil {
		tally.Dropped()
		return
	}
	var spent effort
	if err := j.score(ctx, m, instance, &spent); err != nil {
		m.version.pool.Discard(instance)
		tally.Failed(rollout.ArmCandidate)
		return
	}
	m.version.pool.Put(instance)
	if m.strays(j.scores) {
		tally.Failed(rollout.ArmCandidate)
		return
	}
	tally.Called(rollout.ArmCandidate, spent.rows, spent.fuel, spent.took)
	for _, score := range j.scores {
		tally.Score(rollout.ArmCandidate, score, m.probability)
	}
	for i, score := range j.incumbent {
		tally.Compared(score, j.scores[min(i, len(j.scores)-1)])
	}
}

// score is model.score with the features that were copied.
func (j *shadowJob) score(ctx context.Context, m *model, instance *wasm.Instance, spent *effort) error {
	j.scores = j.scores[:0]
	for begin := 0; begin < j.rows; {
		if begin > 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		n := min(j.rows-begin, instance.MaxRows())
		copy(instance.Subject(), j.subject)
		width := 8 * m.inputs.candidateN
		copy(instance.Candidates(n), j.candidates[begin*width:(begin+n)*width])
		began := time.Now()
		if m.hosted {
			instance.Serve(wasm.Call{Host: j})
		}
		used, err := instance.Score(ctx, n)
		if err != nil {
			return err
		}
		spent.add(n, used, time.Since(began))
		for i := range n {
			j.scores = append(j.scores, instance.ScoreAt(i))
		}
		begin += n
	}
	return nil
}
