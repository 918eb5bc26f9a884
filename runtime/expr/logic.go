package expr

import (
	"cmp"
	"math"
	"time"

	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// and is false where either side is false, even if the other is an error.
func and(left, right boolFunc) boolFunc {
	return func(v *Vars) (bool, bool) {
		l, lok := left(v)
		if lok && !l {
			return false, true
		}
		r, rok := right(v)
		if rok && !r {
			return false, true
		}
		return true, lok && rok
	}
}

// or is true where either side is true, even if the other is an error.
func or(left, right boolFunc) boolFunc {
	return func(v *Vars) (bool, bool) {
		l, lok := left(v)
		if lok && l {
			return true, true
		}
		r, rok := right(v)
		if rok && r {
			return true, true
		}
		return false, lok && rok
	}
}

// equality compares two operands of one type; want is false for !=.
func equality(left, right node, want bool) boolFunc {
	if left.kind != right.kind {
		return nil
	}
	switch left.kind {
	case types.BoolKind:
		return equal(left.bool, right.bool, want)
	case types.IntKind:
		return equal(left.int, right.int, want)
	case types.DoubleKind:
		return equal(left.float, right.float, want)
	case types.StringKind:
		return equal(left.text, right.text, want)
	case types.DurationKind:
		return equal(left.duration, right.duration, want)
	case types.TimestampKind:
		return func(v *Vars) (bool, bool) {
			l, lok := left.time(v)
			if !lok {
				return false, false
			}
			r, rok := right.time(v)
			return l.Equal(r) == want, rok
		}
	default:
		return nil
	}
}

func equal[T comparable](left, right func(*Vars) (T, bool), want bool) boolFunc {
	return func(v *Vars) (bool, bool) {
		l, lok := left(v)
		if !lok {
			return false, false
		}
		r, rok := right(v)
		return (l == r) == want, rok
	}
}

// ordering is the set of comparison results that make an operator true.
type ordering struct{ less, equal, greater bool }

func orderings(function string) ordering {
	switch function {
	case operators.Less:
		return ordering{less: true}
	case operators.LessEquals:
		return ordering{less: true, equal: true}
	case operators.Greater:
		return ordering{greater: true}
	default:
		return ordering{greater: true, equal: true}
	}
}

func (o ordering) holds(comparison int) bool {
	switch {
	case comparison < 0:
		return o.less
	case comparison > 0:
		return o.greater
	default:
		return o.equal
	}
}

// comparison orders two operands, numbers across int and double too.
func comparison(o ordering, left, right node) boolFunc {
	switch {
	case left.int != nil && right.int != nil:
		return compare(o, left.int, right.int)
	case left.float != nil && right.float != nil:
		return compareNumbers(o, left.float, right.float, cmp.Compare[float64])
	case left.int != nil && right.float != nil:
		return compareNumbers(o, left.int, right.float, compareIntFloat)
	case left.float != nil && right.int != nil:
		return compareNumbers(o, left.float, right.int, func(l float64, r int64) int { return -compareIntFloat(r, l) })
	case left.text != nil && right.text != nil:
		return compare(o, left.text, right.text)
	case left.duration != nil && right.duration != nil:
		return compare(o, left.duration, right.duration)
	case left.time != nil && right.time != nil:
		return compareTimes(o, left.time, right.time)
	default:
		return nil
	}
}

func compare[T int64 | string | time.Duration](o ordering, left, right func(*Vars) (T, bool)) boolFunc {
	return func(v *Vars) (bool, bool) {
		l, lok := left(v)
		if !lok {
			return false, false
		}
		r, rok := right(v)
		return o.holds(cmp.Compare(l, r)), rok
	}
}

// compareNumbers is false for every operator where a side is NaN, as in CEL and IEEE 754.
func compareNumbers[L, R int64 | float64](o ordering, left func(*Vars) (L, bool), right func(*Vars) (R, bool), by func(L, R) int) boolFunc {
	return func(v *Vars) (bool, bool) {
		l, lok := left(v)
		if !lok {
			return false, false
		}
		r, rok := right(v)
		return l == l && r == r && o.holds(by(l, r)), rok
	}
}

// compareIntFloat compares as CEL does: beyond the int range by sign, within it as doubles.
func compareIntFloat(i int64, f float64) int {
	switch {
	case f < math.MinInt64:
		return 1
	case f > math.MaxInt64:
		return -1
	default:
		return cmp.Compare(float64(i), f)
	}
}

func compareTimes(o ordering, left, right timeFunc) boolFunc {
	return func(v *Vars) (bool, bool) {
		l, lok := left(v)
		if !lok {
			return false, false
		}
		r, rok := right(v)
		return o.holds(l.Compare(r)), rok
	}
}
