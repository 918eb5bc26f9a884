// Package modeltest holds models against what the libraries that trained them gave. It is for tests.
package modeltest

import (
	"bufio"
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// File is the content of a data file, or of one with an absolute path; the test is skipped where a data
// file is absent.
func File(tb testing.TB, name string) []byte {
	tb.Helper()
	if !filepath.IsAbs(name) {
		name = realdata.Path(tb, name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// Table reads rows of numbers separated by commas or white space, without a header.
func Table(tb testing.TB, name string) [][]float64 {
	tb.Helper()
	var rows [][]float64
	for line := range lines(tb, name) {
		var row []float64
		for field := range strings.FieldsFuncSeq(line, func(r rune) bool { return r == ',' || r == '\t' || r == ' ' }) {
			row = append(row, parse(tb, field))
		}
		rows = append(rows, row)
	}
	return rows
}

// LibSVM reads rows of "label index:value …" with absent for the columns that a row does not name.
func LibSVM(tb testing.TB, name string, columns int, absent float64) [][]float64 {
	tb.Helper()
	var rows [][]float64
	for line := range lines(tb, name) {
		row := make([]float64, columns)
		for i := range row {
			row[i] = absent
		}
		for _, field := range strings.Fields(line)[1:] {
			index, value, _ := strings.Cut(field, ":")
			i, err := strconv.Atoi(index)
			if err != nil {
				tb.Fatal(err)
			}
			if i < columns {
				row[i] = parse(tb, value)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func lines(tb testing.TB, name string) func(func(string) bool) {
	tb.Helper()
	s := bufio.NewScanner(bytes.NewReader(File(tb, name)))
	s.Buffer(nil, 1<<20)
	return func(yield func(string) bool) {
		for s.Scan() {
			if line := strings.TrimSpace(s.Text()); line != "" && !yield(line) {
				return
			}
		}
	}
}

func parse(tb testing.TB, text string) float64 {
	tb.Helper()
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// Column keeps one column of a table.
func Column(table [][]float64, c int) [][]float64 {
	out := make([][]float64, len(table))
	for i, row := range table {
		out[i] = row[c : c+1]
	}
	return out
}

// Scorer scores a row. The results are valid until the next call.
type Scorer func(row []float64) (raw, output []float64)

// Interpreted scores with the interpreter.
func Interpreted(tb testing.TB, m *ir.Model) Scorer {
	tb.Helper()
	in, err := ir.NewInterpreter(m)
	if err != nil {
		tb.Fatal(err)
	}
	return in.Run
}

// Same tells whether got is want to the bit, but for the sign of zero and the kind of NaN.
func Same(got, want float64) bool { return got == want || got != got && want != want }

// ULPs is how many numbers of 64 bits, or of 32 bits, lie between a and b.
func ULPs(a, b float64, narrow bool) float64 {
	switch {
	case Same(a, b):
		return 0
	case a != a || b != b:
		return math.Inf(1)
	}
	order := func(x float64) int64 {
		bits, least := int64(math.Float64bits(x)), int64(math.MinInt64)
		if narrow {
			bits, least = int64(int32(math.Float32bits(float32(x)))), math.MinInt32
		}
		if bits < 0 {
			bits = least - bits
		}
		return bits
	}
	return math.Abs(float64(order(a) - order(b)))
}

// Check holds a scorer against raw scores, which must be the same to the bit, and predictions, which
// may be as many units in the last place off; either may be nil. It reports how many rows are exact and
// the greatest distance.
func Check(tb testing.TB, score Scorer, rows, raw, predictions [][]float64, ulps float64, narrow bool) {
	tb.Helper()
	if raw != nil && len(raw) != len(rows) || predictions != nil && len(predictions) != len(rows) {
		tb.Fatalf("%d rows, %d raw scores, %d predictions", len(rows), len(raw), len(predictions))
	}
	wrong, greatest := 0, 0.0
	for i, row := range rows {
		gotRaw, gotOutput := score(row)
		bad := false
		if raw != nil {
			bad = len(raw[i]) != len(gotRaw)
			for k := 0; !bad && k < len(raw[i]); k++ {
				bad = !Same(gotRaw[k], raw[i][k])
			}
		}
		if predictions != nil {
			bad = bad || len(predictions[i]) != len(gotOutput)
			for k := 0; !bad && k < len(gotOutput); k++ {
				d := ULPs(gotOutput[k], predictions[i][k], narrow)
				greatest = max(greatest, d)
				bad = d > ulps
			}
		}
		if bad {
			if wrong++; wrong <= 5 {
				var r, p []float64
				if raw != nil {
					r = raw[i]
				}
				if predictions != nil {
					p = predictions[i]
				}
				tb.Errorf("row %d %v: raw %v, want %v; output %v, want %v", i, row, gotRaw, r, gotOutput, p)
			}
		}
	}
	if wrong > 0 {
		tb.Errorf("%d of %d rows differ", wrong, len(rows))
	}
	tb.Logf("%d rows, greatest distance of a prediction %v units in the last place", len(rows), greatest)
}

// Trained are the models that train.py wrote to the folder that ARBITER_TRAINED_MODELS names: the
// paths without their endings, of those whose name starts with prefix. The test is skipped where the
// variable is not set.
func Trained(tb testing.TB, prefix, ext string) []string {
	tb.Helper()
	folder := os.Getenv("ARBITER_TRAINED_MODELS")
	if folder == "" {
		tb.Skip("NO TRAINED MODELS: run plugins/compiler/internal/modeltest/train.py FOLDER and set ARBITER_TRAINED_MODELS to the folder")
	}
	paths, err := filepath.Glob(filepath.Join(folder, prefix+"*"+ext))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no %s*%s in %s: %v", prefix, ext, folder, err)
	}
	for i := range paths {
		paths[i] = strings.TrimSuffix(paths[i], ext)
	}
	return paths
}
