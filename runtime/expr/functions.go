package expr

import (
	"math"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// unary makes !, -, size() and the conversions that need no allocation.
func unary(function string, x node) (node, bool) {
	switch function {
	case operators.LogicalNot:
		if x.bool == nil {
			return node{}, false
		}
		return boolNode(func(v *Vars) (bool, bool) { value, ok := x.bool(v); return !value, ok })
	case operators.Negate:
		return negation(x)
	case overloads.Size:
		return size(x)
	case overloads.TypeConvertInt:
		return toInt(x)
	case overloads.TypeConvertDouble:
		if x.int != nil {
			return floatNode(func(v *Vars) (float64, bool) { value, ok := x.int(v); return float64(value), ok })
		}
		return x, x.float != nil
	case overloads.TypeConvertTimestamp, overloads.TypeConvertDuration:
		return constantTime(function, x)
	default:
		return node{}, false
	}
}

func negation(x node) (node, bool) {
	switch {
	case x.int != nil:
		return intNode(func(v *Vars) (int64, bool) {
			value, ok := x.int(v)
			return -value, ok && value != math.MinInt64
		})
	case x.float != nil:
		return floatNode(func(v *Vars) (float64, bool) { value, ok := x.float(v); return -value, ok })
	default:
		return node{}, false
	}
}

// size is the length of text in characters.
func size(x node) (node, bool) {
	if x.text == nil {
		return node{}, false
	}
	return intNode(func(v *Vars) (int64, bool) {
		value, ok := x.text(v)
		return int64(utf8.RuneCountInString(value)), ok
	})
}

// toInt truncates towards zero; NaN and what does not fit are errors. CEL excludes the bounds.
func toInt(x node) (node, bool) {
	if x.int != nil {
		return x, true
	}
	if x.float == nil {
		return node{}, false
	}
	return intNode(func(v *Vars) (int64, bool) {
		value, ok := x.float(v)
		if !ok || !(value > math.MinInt64 && value < math.MaxInt64) {
			return 0, false
		}
		return int64(value), true
	})
}

// constantTime is timestamp("...") and duration("...") of a literal, parsed once.
func constantTime(function string, x node) (node, bool) {
	if x.time != nil && function == overloads.TypeConvertTimestamp || x.duration != nil && function == overloads.TypeConvertDuration {
		return x, true
	}
	text, ok := x.constant.(string)
	if !ok {
		return node{}, false
	}
	if function == overloads.TypeConvertTimestamp {
		t, ok := types.String(text).ConvertToType(types.TimestampType).(types.Timestamp)
		if !ok {
			return node{}, false
		}
		return timeNode(always(t.Time))
	}
	d, ok := types.String(text).ConvertToType(types.DurationType).(types.Duration)
	if !ok {
		return node{}, false
	}
	return durationNode(always(d.Duration))
}

// method makes receiver-style calls: text.startsWith("x"), now.getHours("Europe/Paris").
func (b *builder) method(c ast.CallExpr) (node, bool) {
	target, ok := b.build(c.Target())
	if !ok || len(c.Args()) > 1 {
		return node{}, false
	}
	if target.text != nil || target.dyn != nil && len(c.Args()) == 1 {
		return b.textMethod(c, target.asText())
	}
	if target.duration != nil && len(c.Args()) == 0 {
		return durationPart(c.FunctionName(), target.duration)
	}
	if target.time != nil {
		return b.timePart(c, target.time)
	}
	return node{}, false
}

func (b *builder) textMethod(c ast.CallExpr, target textFunc) (node, bool) {
	if len(c.Args()) == 0 {
		if c.FunctionName() != overloads.Size {
			return node{}, false
		}
		return size(node{text: target})
	}
	arg, ok := b.build(c.Args()[0])
	if !ok || arg.text == nil {
		return node{}, false
	}
	var test func(string, string) bool
	switch c.FunctionName() {
	case overloads.Matches:
		return matches(target, arg)
	case overloads.StartsWith:
		test = strings.HasPrefix
	case overloads.EndsWith:
		test = strings.HasSuffix
	case overloads.Contains:
		test = strings.Contains
	default:
		return node{}, false
	}
	return boolNode(checked(target, arg.text, func(s, sub string) (bool, bool) { return test(s, sub), true }))
}

// matches is a regular expression given by a literal, compiled once. Go's are CEL's: RE2.
func matches(target textFunc, pattern node) (node, bool) {
	source, ok := pattern.constant.(string)
	if !ok || target == nil {
		return node{}, false
	}
	re, err := regexp.Compile(source)
	if err != nil {
		return node{}, false
	}
	return boolNode(func(v *Vars) (bool, bool) {
		text, ok := target(v)
		return ok && re.MatchString(text), ok
	})
}

func durationPart(function string, target durationFunc) (node, bool) {
	var part func(time.Duration) int64
	switch function {
	case overloads.TimeGetHours:
		part = func(d time.Duration) int64 { return int64(d.Hours()) }
	case overloads.TimeGetMinutes:
		part = func(d time.Duration) int64 { return int64(d.Minutes()) }
	case overloads.TimeGetSeconds:
		part = func(d time.Duration) int64 { return int64(d.Seconds()) }
	case overloads.TimeGetMilliseconds:
		part = func(d time.Duration) int64 { return d.Milliseconds() }
	default:
		return node{}, false
	}
	return intNode(func(v *Vars) (int64, bool) {
		d, ok := target(v)
		return part(d), ok
	})
}

// timePart is a calendar field in UTC, or in the time zone named by a literal, which is loaded once.
func (b *builder) timePart(c ast.CallExpr, target timeFunc) (node, bool) {
	zone := time.UTC
	if len(c.Args()) == 1 {
		arg, ok := b.build(c.Args()[0])
		if !ok {
			return node{}, false
		}
		name, ok := arg.constant.(string)
		if !ok || strings.Contains(name, ":") {
			return node{}, false
		}
		loaded, err := time.LoadLocation(name)
		if err != nil {
			return node{}, false
		}
		zone = loaded
	}
	part := calendarPart(c.FunctionName())
	if part == nil {
		return node{}, false
	}
	return intNode(func(v *Vars) (int64, bool) {
		t, ok := target(v)
		if !ok {
			return 0, false
		}
		return int64(part(t.In(zone))), true
	})
}

// calendarPart counts months, days of the year and getDayOfMonth from 0, getDate from 1, and the
// days of the week from Sunday as 0: CEL's conventions.
func calendarPart(function string) func(time.Time) int {
	switch function {
	case overloads.TimeGetFullYear:
		return time.Time.Year
	case overloads.TimeGetMonth:
		return func(t time.Time) int { return int(t.Month()) - 1 }
	case overloads.TimeGetDayOfYear:
		return func(t time.Time) int { return t.YearDay() - 1 }
	case overloads.TimeGetDayOfMonth:
		return func(t time.Time) int { return t.Day() - 1 }
	case overloads.TimeGetDate:
		return time.Time.Day
	case overloads.TimeGetDayOfWeek:
		return func(t time.Time) int { return int(t.Weekday()) }
	case overloads.TimeGetHours:
		return time.Time.Hour
	case overloads.TimeGetMinutes:
		return time.Time.Minute
	case overloads.TimeGetSeconds:
		return time.Time.Second
	case overloads.TimeGetMilliseconds:
		return func(t time.Time) int { return t.Nanosecond() / int(time.Millisecond) }
	default:
		return nil
	}
}
