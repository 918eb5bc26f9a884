package expr

import (
	"math"
	"time"

	"cel.dev/cel-go/common/operators"
)

// arithmetic makes + - * / % over numbers, times and durations. Integer overflow and division by
// zero are errors, as in CEL.
func arithmetic(function string, left, right node) (node, bool) {
	switch {
	case left.int != nil && right.int != nil:
		return intNode(checked(left.int, right.int, intOperation(function)))
	case left.float != nil && right.float != nil:
		return floatNode(checked(left.float, right.float, floatOperation(function)))
	case left.duration != nil && right.duration != nil:
		return durationNode(checked(left.duration, right.duration, durationOperation(function)))
	case left.time != nil && right.duration != nil:
		return timeNode(checked(left.time, right.duration, timeOperation(function)))
	case left.duration != nil && right.time != nil && function == operators.Add:
		return timeNode(checked(left.duration, right.time, func(d time.Duration, t time.Time) (time.Time, bool) { return addTime(t, d) }))
	case left.time != nil && right.time != nil && function == operators.Subtract:
		return durationNode(checked(left.time, right.time, subtractTimes))
	default:
		return node{}, false
	}
}

// checked applies a partial operation to two operands; nil stays nil.
func checked[L, R, T any](left func(*Vars) (L, bool), right func(*Vars) (R, bool), operation func(L, R) (T, bool)) func(*Vars) (T, bool) {
	if operation == nil {
		return nil
	}
	return func(v *Vars) (T, bool) {
		l, ok := left(v)
		if ok {
			var r R
			if r, ok = right(v); ok {
				return operation(l, r)
			}
		}
		var zero T
		return zero, false
	}
}

func intOperation(function string) func(int64, int64) (int64, bool) {
	switch function {
	case operators.Add:
		return addInts
	case operators.Subtract:
		return subtractInts
	case operators.Multiply:
		return multiplyInts
	case operators.Divide:
		return func(x, y int64) (int64, bool) {
			if y == 0 || x == math.MinInt64 && y == -1 {
				return 0, false
			}
			return x / y, true
		}
	case operators.Modulo:
		return func(x, y int64) (int64, bool) {
			if y == 0 || x == math.MinInt64 && y == -1 {
				return 0, false
			}
			return x % y, true
		}
	default:
		return nil
	}
}

func addInts(x, y int64) (int64, bool) {
	sum := x + y
	return sum, (sum > x) == (y > 0)
}

func subtractInts(x, y int64) (int64, bool) {
	difference := x - y
	return difference, (difference < x) == (y > 0)
}

func multiplyInts(x, y int64) (int64, bool) {
	if x == 0 || y == 0 {
		return 0, true
	}
	if x == -1 && y == math.MinInt64 || y == -1 && x == math.MinInt64 {
		return 0, false
	}
	product := x * y
	return product, product/y == x
}

func floatOperation(function string) func(float64, float64) (float64, bool) {
	switch function {
	case operators.Add:
		return func(x, y float64) (float64, bool) { return x + y, true }
	case operators.Subtract:
		return func(x, y float64) (float64, bool) { return x - y, true }
	case operators.Multiply:
		return func(x, y float64) (float64, bool) { return x * y, true }
	case operators.Divide:
		return func(x, y float64) (float64, bool) { return x / y, true }
	default:
		return nil
	}
}

func durationOperation(function string) func(time.Duration, time.Duration) (time.Duration, bool) {
	switch function {
	case operators.Add:
		return func(x, y time.Duration) (time.Duration, bool) {
			sum, ok := addInts(int64(x), int64(y))
			return time.Duration(sum), ok
		}
	case operators.Subtract:
		return func(x, y time.Duration) (time.Duration, bool) {
			difference, ok := subtractInts(int64(x), int64(y))
			return time.Duration(difference), ok
		}
	default:
		return nil
	}
}

func timeOperation(function string) func(time.Time, time.Duration) (time.Time, bool) {
	switch function {
	case operators.Add:
		return addTime
	case operators.Subtract:
		return func(t time.Time, d time.Duration) (time.Time, bool) {
			if d == math.MinInt64 {
				return time.Time{}, false
			}
			return addTime(t, -d)
		}
	default:
		return nil
	}
}

// addTime is an error beyond the years 1 to 9999.
func addTime(t time.Time, d time.Duration) (time.Time, bool) {
	sum := t.Add(d)
	seconds := sum.Unix()
	return sum, seconds >= minUnixSeconds && seconds <= maxUnixSeconds
}

// subtractTimes is an error where the difference exceeds a duration's 292 years.
func subtractTimes(x, y time.Time) (time.Duration, bool) {
	nanoseconds, ok := multiplyInts(x.Unix()-y.Unix(), int64(time.Second))
	if !ok {
		return 0, false
	}
	difference, ok := addInts(nanoseconds, int64(x.Nanosecond()-y.Nanosecond()))
	return time.Duration(difference), ok
}
