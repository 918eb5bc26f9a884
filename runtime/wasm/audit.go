package wasm

import (
	"context"
	"math"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/arbiterhq/arbiter/sdk/abi"
)

// A guest may remember one customer and tell another of it, and nothing in a single call shows it. So now
// and then a call is made again in an instance that has seen nobody: a guest that then answers otherwise
// keeps state, and its pool gives out no instance any more. Guests with capabilities are left out, since
// they may answer otherwise for good reasons, and so are strategies.

const (
	// auditShare is how much longer the time between two audits is than an audit, so that they cost at most
	// a hundredth of a core.
	auditShare    = 100
	auditMinPause = time.Second
)

// sample is a call to be made again.
type sample struct {
	subject, candidates, scores []byte
	rows                        int
}

// sample copies the input of a call that is to be audited, nil when it cannot be.
func (i *Instance) sample(name string, rows int) *sample {
	i.calls = 0
	if name != abi.ExportScore || len(i.pool.spec.Capabilities) > 0 {
		return nil
	}
	return &sample{subject: append([]byte(nil), i.Subject()...), candidates: append([]byte(nil), i.Candidates(rows)...), rows: rows}
}

// keep hands a sample over after its call succeeded; it is dropped while another one waits.
func (i *Instance) keep(s *sample) {
	s.scores = append([]byte(nil), i.Scores(s.rows)...)
	select {
	case i.pool.samples <- s:
	default:
	}
}

// audit makes a call again in a new instance. It runs in the pool's goroutine.
func (p *Pool) audit(s *sample) {
	began := time.Now()
	if began.Before(p.nextAudit) || p.impure.Load() {
		return
	}
	defer func() {
		now := time.Now()
		p.nextAudit = now.Add(max(auditMinPause, auditShare*now.Sub(began)))
	}()
	fresh, err := p.start(context.Background())
	if err != nil {
		return // refilling tells of modules that cannot be started any more
	}
	defer p.closeInstance(fresh)
	if s.rows > fresh.rows {
		return
	}
	copy(fresh.Subject(), s.subject)
	copy(fresh.Candidates(s.rows), s.candidates)
	var function api.Function
	if fresh.guest == nil {
		function = fresh.score
	}
	_, err = fresh.run(context.Background(), function, abi.ExportScore, s.rows)
	p.metrics.audits.Inc()
	if err == nil && sameScores(fresh.Scores(s.rows), s.scores, s.rows) {
		return
	}
	p.impure.Store(true)
	p.config.Logger.Error("a module keeps state between calls and is called no more", "digest", p.spec.Digest)
}

// sameScores compares bit for bit, all NaNs being equal.
func sameScores(a, b []byte, rows int) bool {
	for n := range rows {
		x, y := Float(a, n), Float(b, n)
		if math.Float64bits(x) != math.Float64bits(y) && !(math.IsNaN(x) && math.IsNaN(y)) {
			return false
		}
	}
	return true
}

// errImpure is what callers of a module that keeps state are told.
func errImpure() error {
	return &GuestError{Reason: ReasonState, Function: abi.ExportScore,
		Detail: "gave another score than a new instance for the same input: it keeps state between calls"}
}
