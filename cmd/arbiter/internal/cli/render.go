package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// lineWidth is the number of columns that tables aim at.
const lineWidth = 100

// paint colours text, or leaves it alone where colours are off.
type paint struct{ on bool }

// paint is on for terminals, unless the user set NO_COLOR (no-color.org) or has a dumb one.
func (a *app) paint(tty bool) paint {
	return paint{on: tty && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"}
}

func (p paint) code(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p paint) bold(s string) string   { return p.code("1", s) }
func (p paint) dim(s string) string    { return p.code("2", s) }
func (p paint) red(s string) string    { return p.code("1;31", s) }
func (p paint) green(s string) string  { return p.code("32", s) }
func (p paint) yellow(s string) string { return p.code("33", s) }
func (p paint) cyan(s string) string   { return p.code("36", s) }

// newTable is an empty table in the style of all our tables: no box, a rule under the header. indent
// goes before every line.
func newTable(p paint, header ...string) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true}
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	row := make(table.Row, len(header))
	for i, h := range header {
		row[i] = p.bold(h)
	}
	t.AppendHeader(row)
	return t
}

// writeTable prints t with indent spaces before every line.
func writeTable(w io.Writer, t table.Writer, indent int) {
	pad := strings.Repeat(" ", indent)
	for line := range strings.Lines(t.Render() + "\n") {
		fmt.Fprint(w, pad, line)
	}
}

// right aligns the columns with these numbers, from 1, to the right.
func right(t table.Writer, columns ...int) {
	configs := make([]table.ColumnConfig, len(columns))
	for i, n := range columns {
		configs[i] = table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight}
	}
	t.SetColumnConfigs(configs)
}

// writeDetails lists the mistakes of an input, one a line: where, then what.
func writeDetails(w io.Writer, p paint, details []nba.Detail) {
	for _, d := range details {
		where := d.Pointer
		if d.Line > 0 {
			where = "line " + strconv.Itoa(d.Line)
			if d.File != "" {
				where = d.File + ":" + strconv.Itoa(d.Line)
				if d.Column > 0 {
					where += ":" + strconv.Itoa(d.Column)
				}
			}
		}
		if where != "" {
			where = p.bold(where) + ": "
		}
		fmt.Fprintf(w, "  - %s%s\n", where, d.Detail)
	}
}

// wrap breaks s at spaces into lines of at most width; the second and later lines begin with indent
// spaces.
func wrap(s string, width, indent int) string {
	lines := strings.Split(text.WrapSoft(s, max(width, 10)), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n"+strings.Repeat(" ", indent))
}

// pad fills s up to width columns.
func pad(s string, width int) string {
	if n := text.StringWidthWithoutEscSequences(s); n < width {
		return s + strings.Repeat(" ", width-n)
	}
	return s
}

// shortDigest is enough of a digest for people to tell two apart.
func shortDigest(digest string) string {
	const hexDigits = 12
	name, hex, ok := strings.Cut(digest, ":")
	if !ok || len(hex) <= hexDigits {
		return digest
	}
	return name + ":" + hex[:hexDigits]
}

// number prints a float the way a person would write it: at least two decimals, at most four
// significant ones.
func number(f float64) string {
	switch abs := max(f, -f); {
	case abs >= 1e9:
		return strconv.FormatFloat(f, 'g', 4, 64)
	case abs >= 1 || abs == 0:
		return strconv.FormatFloat(f, 'f', 2, 64)
	case abs >= 0.0001:
		return strconv.FormatFloat(f, 'f', 4, 64)
	default:
		return strconv.FormatFloat(f, 'g', 2, 64)
	}
}

// amount prints a value or a priority: two decimals, unless they would hide it.
func amount(f float64) string {
	if abs := max(f, -f); abs >= 0.005 && abs < 1e9 {
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
	return number(f)
}

// thousands groups the digits of n.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural is "1 action" or "12 actions".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// stamp prints an instant to the second, in UTC.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func stampOf(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return stamp(*t)
}
