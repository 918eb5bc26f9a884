package expr

import (
	"math"
	"strconv"
	"time"

	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// dynFunc reads a value whose type is known when it is read: true or false, a number or text; the zero Value
// stands for null, lists and objects.
type dynFunc func(*Vars) (nba.Value, bool)

func dynNode(f dynFunc) (node, bool) { return node{kind: types.DynKind, dyn: f}, true }

// asBool, asText and asNumber are a value of unknown type where one is needed; another is the error of CEL.
func (n node) asBool() boolFunc {
	if n.dyn == nil {
		return n.bool
	}
	return func(v *Vars) (bool, bool) {
		value, ok := n.dyn(v)
		return value.Bool(), ok && value.Kind() == nba.KindBool
	}
}

func (n node) asText() textFunc {
	if n.dyn == nil {
		return n.text
	}
	return func(v *Vars) (string, bool) {
		value, ok := n.dyn(v)
		return value.Str(), ok && value.Kind() == nba.KindString
	}
}

func (n node) asNumber() floatFunc {
	if n.dyn == nil {
		return n.float
	}
	return func(v *Vars) (float64, bool) {
		value, ok := n.dyn(v)
		return value.Float(), ok && value.Kind() == nba.KindFloat
	}
}

// dynBinary makes the operators where a side is of unknown type.
func dynBinary(function string, left, right node) (node, bool) {
	switch function {
	case operators.LogicalAnd, operators.LogicalOr:
		left.bool, right.bool = left.asBool(), right.asBool()
		left.dyn, right.dyn = nil, nil
		return binary(function, left, right)
	case operators.Equals, operators.NotEquals:
		if left.dyn == nil {
			left, right = right, left
		}
		return boolNode(dynEquality(left.dyn, right, function == operators.Equals))
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return boolNode(dynComparison(orderings(function), left, right))
	case overloads.Matches:
		return matches(left.asText(), right)
	default:
		return node{}, false
	}
}

// dynEquality compares with a side of a known type: values of different types are not equal.
func dynEquality(left dynFunc, right node, want bool) boolFunc {
	compare := func(same func(*Vars, nba.Value) (bool, bool)) boolFunc {
		return func(v *Vars) (bool, bool) {
			value, ok := left(v)
			if !ok {
				return false, false
			}
			equal, ok := same(v, value)
			return equal == want, ok
		}
	}
	switch {
	case right.text != nil:
		return compare(func(v *Vars, l nba.Value) (bool, bool) {
			r, ok := right.text(v)
			return l.Kind() == nba.KindString && l.Str() == r, ok
		})
	case right.int != nil:
		return compare(func(v *Vars, l nba.Value) (bool, bool) {
			r, ok := right.int(v)
			return l.Kind() == nba.KindFloat && compareIntFloat(r, l.Float()) == 0, ok
		})
	case right.float != nil:
		return compare(func(v *Vars, l nba.Value) (bool, bool) {
			r, ok := right.float(v)
			return l.Kind() == nba.KindFloat && l.Float() == r, ok
		})
	case right.bool != nil:
		return compare(func(v *Vars, l nba.Value) (bool, bool) {
			r, ok := right.bool(v)
			return l.Kind() == nba.KindBool && l.Bool() == r, ok
		})
	default:
		return nil
	}
}

// dynComparison orders numbers and texts; the types must go together.
func dynComparison(o ordering, left, right node) boolFunc {
	switch {
	case left.dyn != nil && right.dyn != nil:
		return nil
	case left.text != nil || right.text != nil:
		return compare(o, left.asText(), right.asText())
	case left.int != nil:
		return compareNumbers(o, left.int, right.asNumber(), compareIntFloat)
	case right.int != nil:
		return compareNumbers(o, left.asNumber(), right.int, func(l float64, r int64) int { return -compareIntFloat(r, l) })
	case left.float != nil || right.float != nil:
		l, r := left.asNumber(), right.asNumber()
		return compareNumbers(o, l, r, func(a, b float64) int {
			switch {
			case a < b:
				return -1
			case a > b:
				return 1
			}
			return 0
		})
	default:
		return nil
	}
}

// dynIn is x in [constants].
func dynIn(x dynFunc, constants []any) boolFunc {
	return func(v *Vars) (bool, bool) {
		value, ok := x(v)
		if !ok {
			return false, false
		}
		for _, c := range constants {
			switch c := c.(type) {
			case string:
				if value.Kind() == nba.KindString && value.Str() == c {
					return true, true
				}
			case int64:
				if value.Kind() == nba.KindFloat && value.Float() == float64(c) {
					return true, true
				}
			case float64:
				if value.Kind() == nba.KindFloat && value.Float() == c {
					return true, true
				}
			case bool:
				if value.Kind() == nba.KindBool && value.Bool() == c {
					return true, true
				}
			}
		}
		return false, true
	}
}

// dynUnary makes ! and the conversions of a value of unknown type.
func dynUnary(function string, x node) (node, bool) {
	switch function {
	case operators.LogicalNot:
		f := x.asBool()
		return boolNode(func(v *Vars) (bool, bool) { value, ok := f(v); return !value, ok })
	case operators.Negate:
		f := x.asNumber()
		return floatNode(func(v *Vars) (float64, bool) { value, ok := f(v); return -value, ok })
	case overloads.TypeConvertDouble:
		return floatNode(func(v *Vars) (float64, bool) {
			value, ok := x.dyn(v)
			switch {
			case ok && value.Kind() == nba.KindFloat:
				return value.Float(), true
			case ok && value.Kind() == nba.KindString:
				number, err := strconv.ParseFloat(value.Str(), 64)
				return number, err == nil
			}
			return 0, false
		})
	case overloads.TypeConvertInt:
		return intNode(func(v *Vars) (int64, bool) {
			value, ok := x.dyn(v)
			switch {
			case ok && value.Kind() == nba.KindFloat:
				f := value.Float()
				if !(f > math.MinInt64 && f < math.MaxInt64) {
					return 0, false
				}
				return int64(f), true
			case ok && value.Kind() == nba.KindString:
				number, err := strconv.ParseInt(value.Str(), 10, 64)
				return number, err == nil
			}
			return 0, false
		})
	case overloads.TypeConvertTimestamp:
		return timeNode(func(v *Vars) (time.Time, bool) {
			value, ok := x.dyn(v)
			if !ok || value.Kind() != nba.KindString {
				return time.Time{}, false
			}
			t, err := time.Parse(time.RFC3339, value.Str())
			if err != nil || t.Unix() < minUnixSeconds || t.Unix() > maxUnixSeconds {
				return time.Time{}, false
			}
			return t, true
		})
	default:
		return node{}, false
	}
}

// Value evaluates a program for whatever it gives: true or false, a number, text or a time. ok is false when
// the result is undefined, or none of these. Text may share the memory of the subject or the event.
func (p *Program) Value(v *Vars) (value nba.Value, ok bool) {
	v.gap = Gap{}
	switch {
	case p.fallback != nil:
		result, _, err := p.fallback.Eval(newActivation(v))
		if err != nil {
			return nba.Value{}, false
		}
		return valueOf(result)
	case p.dyn != nil:
		value, ok = p.dyn(v)
		return value, ok && value.Kind() != nba.KindInvalid
	case p.bool != nil:
		b, ok := p.bool(v)
		return nba.Bool(b), ok
	case p.int != nil:
		i, ok := p.int(v)
		return nba.Int(i), ok
	case p.float != nil:
		f, ok := p.float(v)
		return nba.Float(f), ok && !math.IsNaN(f) && !math.IsInf(f, 0)
	case p.text != nil:
		s, ok := p.text(v)
		return nba.String(s), ok
	case p.time != nil:
		t, ok := p.time(v)
		return nba.Time(t), ok
	}
	return nba.Value{}, false
}

func valueOf(result ref.Val) (nba.Value, bool) {
	switch r := result.(type) {
	case types.Bool:
		return nba.Bool(bool(r)), true
	case types.Int:
		return nba.Int(int64(r)), true
	case types.Uint:
		return nba.Float(float64(r)), true
	case types.Double:
		return nba.Float(float64(r)), !math.IsNaN(float64(r)) && !math.IsInf(float64(r), 0)
	case types.String:
		return nba.String(string(r)), true
	case types.Timestamp:
		return nba.Time(r.Time), true
	default:
		return nba.Value{}, false
	}
}

// as makes a program of a value of unknown type what it was compiled for.
func (p *Program) as(root node) {
	switch p.result {
	case BoolResult:
		p.kind, p.bool = BoolKind, root.asBool()
	case NumberResult:
		p.kind, p.float = NumberKind, root.asNumber()
	case TextResult:
		p.kind, p.text = TextKind, root.asText()
	default:
		p.dyn = root.dyn
	}
}
