package table

import (
	"math"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/expr"
)

// test is a parsed cell of an input.
type test struct {
	any, missing, negated bool
	numbers               []interval
	texts                 []string
	bools                 [2]bool // false, true
}

// interval is a range of numbers with its ends; a single value has both ends closed.
type interval struct {
	low, high             float64
	lowClosed, highClosed bool
}

func point(f float64) interval { return interval{low: f, high: f, lowClosed: true, highClosed: true} }

// parseTest reads a cell. problem says what is wrong with it, "" if nothing is.
func parseTest(cell string, kind expr.Kind) (t test, problem string) {
	cell = strings.TrimSpace(cell)
	switch cell {
	case "", "-":
		return test{any: true}, ""
	case "missing":
		return test{missing: true}, ""
	}
	if inner, ok := strings.CutPrefix(cell, "not("); ok && strings.HasSuffix(inner, ")") {
		t.negated = true
		cell = strings.TrimSuffix(inner, ")")
	}
	items, ok := splitList(cell)
	if !ok {
		return t, "a quote is not closed"
	}
	for _, item := range items {
		if problem := t.add(item, kind); problem != "" {
			return t, problem
		}
	}
	return t, ""
}

func (t *test) add(item string, kind expr.Kind) (problem string) {
	switch kind {
	case expr.BoolKind:
		switch item {
		case "true":
			t.bools[1] = true
		case "false":
			t.bools[0] = true
		default:
			return "the input is true or false: write true, false or -"
		}
	case expr.NumberKind:
		i, ok := parseInterval(item)
		if !ok {
			return "the input is a number: write 5, >= 5, [1..5), a list of them, or -"
		}
		t.numbers = append(t.numbers, i)
	default:
		text := item
		if len(item) >= 2 && item[0] == '"' {
			unquoted, err := strconv.Unquote(item)
			if err != nil {
				return "the quoted text has an escape that does not exist"
			}
			text = unquoted
		}
		t.texts = append(t.texts, text)
	}
	return ""
}

// splitList splits at commas outside quotes.
func splitList(s string) (items []string, ok bool) {
	quoted, begin := false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ',':
			items = append(items, strings.TrimSpace(s[begin:i]))
			begin = i + 1
		}
	}
	return append(items, strings.TrimSpace(s[begin:])), !quoted
}

// parseInterval reads 5, = 5, < 5, <= 5, > 5, >= 5, [1..5], (1..5) and their mixtures.
func parseInterval(s string) (i interval, ok bool) {
	number := func(s string) (float64, bool) {
		f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
	}
	infinite := interval{low: math.Inf(-1), high: math.Inf(1)}
	for _, op := range [...]string{"<=", ">=", "<", ">", "="} {
		rest, found := strings.CutPrefix(s, op)
		if !found {
			continue
		}
		f, ok := number(rest)
		switch i = infinite; op[0] {
		case '<':
			i.high, i.highClosed = f, len(op) == 2
		case '>':
			i.low, i.lowClosed = f, len(op) == 2
		default:
			i = point(f)
		}
		return i, ok
	}
	if len(s) > 2 && strings.ContainsRune("[(", rune(s[0])) && strings.ContainsRune("])", rune(s[len(s)-1])) {
		low, high, found := strings.Cut(s[1:len(s)-1], "..")
		i = interval{lowClosed: s[0] == '[', highClosed: s[len(s)-1] == ']'}
		var okLow, okHigh bool
		i.low, okLow = number(low)
		i.high, okHigh = number(high)
		return i, found && okLow && okHigh && (i.low < i.high || i.low == i.high && i.lowClosed && i.highClosed)
	}
	f, ok := number(s)
	return point(f), ok
}

// holds tells whether a number is within the interval.
func (i *interval) holds(f float64) bool {
	return (f > i.low || i.lowClosed && f == i.low) && (f < i.high || i.highClosed && f == i.high)
}

// number, text and bool tell whether a value passes the test.
func (t *test) number(f float64) bool {
	hit := false
	for i := range t.numbers {
		hit = hit || t.numbers[i].holds(f)
	}
	return t.any || !t.missing && hit != t.negated
}

func (t *test) text(s string) bool {
	hit := false
	for _, text := range t.texts {
		hit = hit || text == s
	}
	return t.any || !t.missing && hit != t.negated
}

func (t *test) bool(b bool) bool {
	at := 0
	if b {
		at = 1
	}
	return t.any || !t.missing && t.bools[at] != t.negated
}

// undefined tells whether an input without a value passes: only what does not ask for one does.
func (t *test) undefined() bool { return t.any || t.missing }
