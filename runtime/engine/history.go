package engine

import (
	"math"
	"time"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/history"
)

var _ expr.History = (*histories)(nil)

// histories answers what expressions ask of the interaction history, each question once. What they and
// the models read is one reading.
type histories struct {
	reader history.Reader
	reads  *Reads
	places history.Places
	known  map[history.Query]float64 // NaN: no answer
}

func (h *histories) begin(d *decision) {
	h.reader.Reset(d.in.Subject, d.in.Now)
	h.reads = d.in.Reads
	if d.in.Catalog.Histories > 0 {
		h.places = d.in.Catalog.Place
	}
}

// forget keeps nothing but memory.
func (h *histories) forget() {
	h.reader.Reset(nil, time.Time{})
	clear(h.known)
	h.reads, h.places = nil, nil
}

// Aggregate implements expr.History.
func (h *histories) Aggregate(q history.Query) (value float64, ok bool) {
	value, asked := h.known[q]
	if !asked {
		value = h.reads.Aggregate(h.compute(&q))
		if h.known == nil {
			h.known = map[history.Query]float64{}
		}
		h.known[q] = value
	}
	return value, !math.IsNaN(value)
}

func (h *histories) compute(q *history.Query) float64 {
	touches, err := h.reader.Touches()
	if err != nil {
		return math.NaN()
	}
	value, ok := q.Of(touches, h.reader.NowMS(), h.places)
	if !ok {
		return math.NaN()
	}
	return value
}
