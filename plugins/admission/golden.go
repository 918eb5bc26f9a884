package admission

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

const (
	// targetCall is how long a call of several rows should take at most: half of the millisecond by
	// which a guest may stretch a garbage collection pause.
	targetCall = 500 * time.Microsecond
	// batchRows is how many rows the batch check scores at once.
	batchRows = 64
)

// replay runs the module before anybody depends on it. Every golden row must give its result; a row
// of missing values must be answered, because a subject without consent looks like that; the same row
// must give the same score again, alone and in a batch, because the host assumes a guest to be a
// function of its input.
func replay(ctx context.Context, pool *wasm.Pool, manifest *artifact.Manifest) error {
	instance, err := pool.Acquire(ctx)
	if err != nil {
		return hostOr(ctx, err, "golden", "module", "no instance became free")
	}
	r := replayer{ctx: ctx, instance: instance, manifest: manifest, subjectN: manifest.SubjectFeatures()}
	if err := r.run(); err != nil {
		pool.Discard(instance)
		return err
	}
	if r.rowTime > 0 {
		pool.LimitRows(int(targetCall / r.rowTime))
	}
	if r.spoiled {
		pool.Discard(instance)
	} else {
		pool.Put(instance)
	}
	return nil
}

type replayer struct {
	ctx      context.Context
	instance *wasm.Instance
	manifest *artifact.Manifest
	subjectN int
	row      []float64
	rowTime  time.Duration // measured for batches; 0: not measured
	spoiled  bool          // a made-up row failed: the instance may be called no more
}

func (r *replayer) run() error {
	golden := r.manifest.Golden
	scores := make([]float64, len(golden))
	for i := range golden {
		var err error
		if scores[i], err = r.golden(i); err != nil {
			return err
		}
	}
	r.row = r.row[:0]
	for range r.manifest.Features {
		r.row = append(r.row, math.NaN())
	}
	missing, err := r.score("missing", "a row of missing features")
	if err != nil {
		return err
	}
	if err := r.probe(missing); err != nil || r.spoiled {
		return err
	}
	for i := len(golden) - 1; i >= 0; i-- {
		r.row = golden[i].Row(r.row[:0])
		again, err := r.score("pure", place(i))
		if err != nil {
			return err
		}
		if !same(again, scores[i]) {
			return refuse("pure", place(i), "the module gave another score the second time; it must keep no state between calls")
		}
	}
	return r.batch()
}

// probe scores made-up rows forwards and backwards: a module that remembers earlier rows gives itself away
// without any golden row. missing is what the row of missing features gave. A row that fails proves nothing
// and ends it.
func (r *replayer) probe(missing float64) error {
	values := [...]float64{math.NaN(), 0, 1, 1000}
	first := [len(values)]float64{missing}
	for n := range 2 * len(values) {
		i := n
		if n >= len(values) {
			i = 2*len(values) - 1 - n
		}
		for k := range r.row {
			r.row[k] = values[i]
		}
		r.fill(1)
		if _, err := r.instance.Score(r.ctx, 1); err != nil {
			r.spoiled = true
			return nil
		}
		switch score := r.instance.ScoreAt(0); {
		case n == i && n > 0:
			first[i] = score
		case !same(score, first[i]):
			return refuse("pure", fmt.Sprintf("a row of %v in every feature", values[i]), "the module gave another score the second time; it must keep no state between calls")
		}
	}
	return nil
}

// golden scores golden row i and compares.
func (r *replayer) golden(i int) (float64, error) {
	g := &r.manifest.Golden[i]
	r.row = g.Row(r.row[:0])
	if g.Raw != nil {
		r.fill(1)
		if _, err := r.instance.ScoreRaw(r.ctx, 1); err != nil {
			return 0, r.failed("golden", place(i)+" raw", err)
		}
		if raw := r.instance.ScoreAt(0); !g.MatchesRaw(raw) {
			return 0, refuse("golden", place(i)+"/raw", "the module returns %v, and the row says %v; %s", raw, *g.Raw, r.reason(i, func() bool {
				_, err := r.instance.ScoreRaw(r.ctx, 1)
				return err == nil && g.MatchesRaw(r.instance.ScoreAt(0))
			}))
		}
	}
	score, err := r.score("golden", place(i))
	if err != nil {
		return 0, err
	}
	if !g.MatchesScore(score) {
		return 0, refuse("golden", place(i)+"/score", "the module returns %v, and the row says %v; %s", score, g.Score, r.reason(i, func() bool {
			_, err := r.instance.Score(r.ctx, 1)
			return err == nil && g.MatchesScore(r.instance.ScoreAt(0))
		}))
	}
	return score, nil
}

// reason tells which features of golden row i are suspicious, and why that usually happens. agrees scores
// the row that was filled in and compares.
func (r *replayer) reason(i int, agrees func() bool) string {
	const tries = 2000 // each is a call
	tried := 0
	text := artifact.Diagnose(r.manifest.Names(), r.manifest.Golden[i].Row(nil), func(row []float64) bool {
		if tried++; tried > tries || r.ctx.Err() != nil {
			return false
		}
		r.row = append(r.row[:0], row...)
		r.fill(1)
		return agrees()
	})
	if text == "" {
		text = "no single value explains it: usually the module and the golden rows are of different models, or the rows were scored with fewer trees or another class"
	}
	return text + "; rebuild the module and its golden rows from the same model"
}

// batch scores the candidates of all golden rows with one subject, in one call and one by one, and
// measures how long a row of a batch takes.
func (r *replayer) batch() error {
	golden := r.manifest.Golden
	width := r.manifest.CandidateFeatures()
	rows := min(r.instance.MaxRows(), batchRows)
	if len(golden) == 0 || rows < 2 {
		return nil
	}
	alone := make([]float64, rows)
	var candidates []float64
	for n := range rows {
		r.row = golden[0].Row(r.row[:0])
		other := golden[n%len(golden)].Row(nil)
		copy(r.row[r.subjectN:], other[r.subjectN:])
		candidates = append(candidates, r.row[r.subjectN:]...)
		var err error
		if alone[n], err = r.score("batch", place(n%len(golden))); err != nil {
			return err
		}
	}
	for try := range 3 {
		r.fill(rows)
		area := r.instance.Candidates(rows)
		for n, f := range candidates {
			wasm.PutFloat(area, n, f)
		}
		began := time.Now()
		if _, err := r.instance.Score(r.ctx, rows); err != nil {
			return r.failed("batch", fmt.Sprintf("a batch of %d rows", rows), err)
		}
		if took := time.Since(began) / time.Duration(rows); width > 0 && (try == 0 || took < r.rowTime) {
			r.rowTime = max(took, 1)
		}
		for n := range rows {
			if got := r.instance.ScoreAt(n); !same(got, alone[n]) {
				return refuse("batch", fmt.Sprintf("row %d of a batch of %d", n, rows), "the module returns another score than for the row alone; rows must not influence one another")
			}
		}
	}
	return nil
}

// fill writes r.row: the subject features, and the first candidate's.
func (r *replayer) fill(rows int) {
	subject := r.instance.Subject()
	for n, f := range r.row[:r.subjectN] {
		wasm.PutFloat(subject, n, f)
	}
	candidates := r.instance.Candidates(rows)
	for n, f := range r.row[r.subjectN:] {
		wasm.PutFloat(candidates, n, f)
	}
}

// score scores r.row alone.
func (r *replayer) score(rule, where string) (float64, error) {
	r.fill(1)
	if _, err := r.instance.Score(r.ctx, 1); err != nil {
		return 0, r.failed(rule, where, err)
	}
	return r.instance.ScoreAt(0), nil
}

func (r *replayer) failed(rule, where string, err error) error {
	remedy := "run the module on this row in a debugger"
	switch wasm.ReasonOf(err) {
	case wasm.ReasonFuel:
		remedy = "raise limits.fuelBase or limits.fuelPerRow in the manifest"
	case "":
		remedy = "export it, or leave raw out of the golden rows"
	}
	return hostOr(r.ctx, err, rule, where, "%s; %s", printable(err), remedy)
}

// same compares scores bit for bit, all NaNs being equal.
func same(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b)
}

func place(i int) string { return fmt.Sprintf("manifest /golden/%d", i) }

// RowScorer runs an instance on one row at a time.
type RowScorer struct {
	instance *wasm.Instance
	subjectN int
	hasRaw   bool
	fuel     uint64
}

// NewRowScorer makes a RowScorer of an instance that nobody else uses.
func NewRowScorer(manifest *artifact.Manifest, instance *wasm.Instance) *RowScorer {
	return &RowScorer{instance: instance, subjectN: manifest.SubjectFeatures(), hasRaw: true}
}

// Score scores a row that is in the order of the manifest: raw is what arbiter_score_raw gives, NaN where
// the module does not export it, score what arbiter_score gives.
func (r *RowScorer) Score(ctx context.Context, row []float64) (raw, score float64, err error) {
	raw = math.NaN()
	if r.hasRaw {
		r.fill(row)
		if _, err = r.instance.ScoreRaw(ctx, 1); err == nil {
			raw = r.instance.ScoreAt(0)
		} else if wasm.ReasonOf(err) == "" && ctx.Err() == nil {
			r.hasRaw = false
		} else {
			return 0, 0, err
		}
	}
	r.fill(row)
	used, err := r.instance.Score(ctx, 1)
	r.fuel = max(r.fuel, used)
	return raw, r.instance.ScoreAt(0), err
}

func (r *RowScorer) fill(row []float64) {
	for n, f := range row[:r.subjectN] {
		wasm.PutFloat(r.instance.Subject(), n, f)
	}
	for n, f := range row[r.subjectN:] {
		wasm.PutFloat(r.instance.Candidates(1), n, f)
	}
}

// Fuel is the most that a call of arbiter_score has used.
func (r *RowScorer) Fuel() uint64 { return r.fuel }
