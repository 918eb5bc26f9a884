package engine

import (
	"math"
	"time"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

var (
	_ expr.Aggregates = (*aggregates)(nil)
	_ Counter         = (*aggregates)(nil)
)

// aggregates answers what expressions ask of event strategies, each once. The state is read once.
type aggregates struct {
	reader  catalog.Aggregator
	subject nba.Subject
	reads   *Reads
	catalog *catalog.Catalog
	now     time.Time

	loaded bool
	state  []byte
	err    error
	known  map[int]float64 // by EventStrategy.Index; NaN: there is none
}

func (a *aggregates) begin(d *decision) {
	a.subject, a.reads, a.catalog, a.now = d.in.Subject, d.in.Reads, d.in.Catalog, d.in.Now
}

// forget keeps nothing but memory.
func (a *aggregates) forget() {
	clear(a.known)
	*a = aggregates{reader: a.reader, known: a.known}
}

// StrategyAggregate implements expr.Aggregates.
func (a *aggregates) StrategyAggregate(name string, purpose nba.PurposeID, mask nba.PurposeSet) (value float64, withheld, ok bool) {
	s, ok := a.catalog.EventStrategy(name)
	if !ok {
		return 0, false, false
	}
	if !s.MayRead(purpose, mask) {
		return 0, true, false
	}
	value, asked := a.known[s.Index]
	if !asked {
		value = a.reads.Aggregate(a.compute(s))
		if a.known == nil {
			a.known = map[int]float64{}
		}
		a.known[s.Index] = value
	}
	return value, false, !math.IsNaN(value)
}

// Counted implements Counter. It is asked anew each time: a call whose scores are not used leaves nothing
// behind.
func (a *aggregates) Counted(strategy string, purpose nba.PurposeID, mask nba.PurposeSet) (value float64, ok bool) {
	s, ok := a.catalog.EventStrategy(strategy)
	if !ok || !s.MayRead(purpose, mask) {
		return 0, false
	}
	value = a.compute(s)
	return value, !math.IsNaN(value)
}

func (a *aggregates) compute(s *catalog.EventStrategy) float64 {
	if !a.loaded {
		a.loaded = true
		if who, ok := a.subject.(nba.Counting); ok {
			a.state, a.err = who.Windows()
		}
	}
	if a.err != nil {
		return math.NaN()
	}
	value, ok, err := a.reader.Read(a.state, s, a.now)
	if err != nil || !ok {
		return math.NaN()
	}
	return value
}
