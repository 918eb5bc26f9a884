package emit

import (
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// missingLow is the key of a missing value that must not be greater, missingHigh of one that must.
// They lie beyond the keys of both infinities.
const (
	missingLow32  = math.MinInt32
	missingHigh32 = math.MaxInt32
	missingLow64  = math.MinInt64
	missingHigh64 = math.MaxInt64
)

// key32 maps a float to an integer of the same order: integers compare without branches, floats do
// not. Both zeros get the key 0; the row's -0 keeps the key -1, which every comparison treats alike.
func key32(x float32) int32 {
	if x == 0 {
		return 0
	}
	b := int32(math.Float32bits(x))
	return b ^ int32(uint32(b>>31)>>1)
}

// key64 is key32 for 64 bits.
func key64(x float64) int64 {
	if x == 0 {
		return 0
	}
	b := int64(math.Float64bits(x))
	return b ^ int64(uint64(b>>63)>>1)
}

// greatestLow is the greatest key that is not greater in the sense of a comparison with t: with strict,
// x < t is key(x) <= key(next below t); else x <= t is key(x) <= key(t). In 32 bits t is first rounded
// so that no 32-bit float changes sides.
func greatestLow(t float64, strict, wide bool) int64 {
	if wide {
		if !strict {
			return key64(t)
		}
		if math.IsInf(t, -1) {
			return key64(t) - 1
		}
		return key64(math.Nextafter(t, math.Inf(-1)))
	}
	f := float32(t)
	switch {
	case float64(f) > t: // rounded up: the next below is the greatest one that is less than t
		return below32(f)
	case float64(f) < t: // rounded down: f < t and f <= t
		return int64(key32(f))
	case strict:
		return below32(f)
	default:
		return int64(key32(f))
	}
}

// below32 is the key of the float below f.
func below32(f float32) int64 {
	if math.IsInf(float64(f), -1) {
		return int64(key32(f)) - 1
	}
	return int64(key32(math.Nextafter32(f, float32(math.Inf(-1)))))
}

// copyKind is a way to turn missing values into keys: each is a copy of the row.
type copyKind uint8

// The copies: what NaN becomes, and with zero in the name what values near 0 become too.
const (
	copyLow copyKind = iota
	copyHigh
	copyNone // NaN is 0
	copyZeroLow
	copyZeroHigh
	copyKinds
	copyPredicate // no copy of the row, but the answer to an equality or a set
)

// slot is what a node compares with its key: a feature in one of the copies, or a predicate.
type slot struct {
	kind      copyKind
	feature   int32
	predicate int32
}

// question is a split in the form of the tables: the row goes to the high child when the slot's key is
// greater than key.
type question struct {
	slot slot
	key  int64
	flip bool // the left child is the high one
}

// ask turns a split into a question.
func (o *forest) ask(s *ir.Split) question {
	flip, missing := false, s.Default
	switch s.Compare {
	case ir.GT, ir.GE, ir.NE, ir.NotIn:
		flip, missing = true, !s.Default
	}
	// Now missing values go to the low child when missing is set.
	if s.Compare >= ir.EQ {
		p := *s
		p.Default = missing
		switch s.Compare {
		case ir.NE:
			p.Compare = ir.EQ
		case ir.NotIn:
			p.Compare = ir.In
		}
		if p.Compare == ir.EQ {
			p.Set = 0
		} else {
			p.Value, p.Set = 0, o.setIndex(p.Set)
		}
		key := int64(1)<<24 - 1
		if o.wide {
			key = 1<<56 - 1
		}
		return question{slot: slot{kind: copyPredicate, feature: s.Feature, predicate: o.predicate(p)}, key: key, flip: flip}
	}
	q := question{slot: slot{feature: s.Feature}, flip: flip}
	switch {
	case s.Missing == ir.MissingNone:
		q.slot.kind = copyNone
	case s.Missing == ir.MissingZero && missing:
		q.slot.kind = copyZeroLow
	case s.Missing == ir.MissingZero:
		q.slot.kind = copyZeroHigh
	case missing:
		q.slot.kind = copyLow
	default:
		q.slot.kind = copyHigh
	}
	q.key = greatestLow(s.Value, s.Compare == ir.LT || s.Compare == ir.GE, o.wide)
	return q
}
