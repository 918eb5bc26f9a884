package examples_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// table is a CSV file by column.
type table struct {
	rows   int
	column map[string][]string
}

func parseTable(t *testing.T, r io.Reader) table {
	t.Helper()
	records, err := csv.NewReader(r).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := table{rows: len(records) - 1, column: map[string][]string{}}
	for i, name := range records[0] {
		for _, record := range records[1:] {
			out.column[name] = append(out.column[name], record[i])
		}
	}
	return out
}

func generate(t *testing.T, seed uint64, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := examples.WriteSubscribers(&b, seed, n); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSameEverywhere pins the bytes: another processor, Go release or run must give the same. Whoever
// changes the generator on purpose changes the digest with it.
func TestSameEverywhere(t *testing.T) {
	sum := sha256.Sum256(generate(t, examples.DefaultSeed, 10_000))
	const want = "22eefc277621cae431b67ca07d2ef34a88fcf7a48b40774c4b76ea3ef062158b"
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if few, many := generate(t, 7, 50), generate(t, 7, 500); !bytes.HasPrefix(many, few) {
		t.Error("the first subscribers depend on how many there are")
	}
	if bytes.Equal(generate(t, 1, 50), generate(t, 2, 50)) {
		t.Error("two seeds give the same subscribers")
	}
}

func TestSubscribersAreWhole(t *testing.T) {
	const n = 10_000
	text := generate(t, examples.DefaultSeed, n)
	s := parseTable(t, bytes.NewReader(text))
	if s.rows != n {
		t.Fatalf("%d subscribers, want %d", s.rows, n)
	}
	for i, id := range s.column["id"] {
		if want := "S-" + strconv.Itoa(1_000_001 + i)[1:]; id != want {
			t.Fatalf("id %s, want %s", id, want)
		}
	}
	for i := range n {
		is := func(column, value string) bool { return s.column[column][i] == value }
		at := s.column["id"][i]
		if is("internetService", "No") != is("onlineSecurity", "No internet service") {
			t.Errorf("%s: security and internet contradict each other", at)
		}
		if is("phoneService", "No") != is("multipleLines", "No phone service") {
			t.Errorf("%s: lines and phone contradict each other", at)
		}
		if is("contract", "Month-to-month") != is("commitmentEnd", "") {
			t.Errorf("%s: contract and commitment contradict each other", at)
		}
		if is("tenure", "0") != is("totalCharges", "") {
			t.Errorf("%s: tenure and total contradict each other", at)
		}
		if age := number(t, s.column["age"][i]); is("seniorCitizen", "Yes") != (age >= 65) || age < 18 || age > 100 {
			t.Errorf("%s: age %v", at, age)
		}
	}
	if bytes.ContainsAny(text, "\"\r") {
		t.Error("the file needs quotes")
	}
}

func TestAsOf(t *testing.T) {
	var b bytes.Buffer
	day := time.Date(2031, 5, 17, 13, 0, 0, 0, time.UTC)
	if err := examples.WriteSubscribersAsOf(&b, examples.DefaultSeed, 2000, day); err != nil {
		t.Fatal(err)
	}
	dates := 0
	for _, end := range parseTable(t, &b).column["commitmentEnd"] {
		if end == "" {
			continue
		}
		dates++
		if when, err := time.Parse(time.DateOnly, end); err != nil || when.Before(day.AddDate(0, 0, -1)) || when.After(day.AddDate(2, 0, 1)) {
			t.Errorf("commitment ends on %s", end)
		}
	}
	if dates == 0 {
		t.Error("nobody is committed")
	}
	date := regexp.MustCompile(`,20\d\d-\d\d-\d\d,`)
	other := generate(t, examples.DefaultSeed, 2000)
	var again bytes.Buffer
	if err := examples.WriteSubscribersAsOf(&again, examples.DefaultSeed, 2000, day); err != nil {
		t.Fatal(err)
	}
	if date.ReplaceAllString(string(other), ",D,") != date.ReplaceAllString(again.String(), ",D,") {
		t.Error("the day changes more than dates")
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriteErrorsAreReturned(t *testing.T) {
	if err := examples.WriteSubscribers(failingWriter{}, 1, 5); err == nil {
		t.Error("no error from a writer that fails")
	}
}

// TestMarginals compares the generated base with the real one: the share of every level within three
// points, numbers within a twentieth of the real mean and spread.
func TestMarginals(t *testing.T) {
	file, err := os.Open(realdata.Path(t, "telco-ibm/Telco-Customer-Churn.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	real := parseTable(t, file)
	made := parseTable(t, bytes.NewReader(generate(t, examples.DefaultSeed, 20_000)))
	numeric := map[string]bool{"tenure": true, "MonthlyCharges": true, "TotalCharges": true}
	compared := 0
	for name, values := range real.column {
		ours, ok := made.column[strings.ToLower(name[:1])+name[1:]]
		if !ok {
			continue // the id and the label
		}
		compared++
		if numeric[name] {
			compareNumbers(t, name, values, ours)
			continue
		}
		if name == "SeniorCitizen" {
			for i, v := range values {
				values[i] = map[string]string{"0": "No", "1": "Yes"}[v]
			}
		}
		want, got := shares(values), shares(ours)
		for level := range want {
			if math.Abs(want[level]-got[level]) > 0.03 {
				t.Errorf("%s=%s: %.3f, in the real file %.3f", name, level, got[level], want[level])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s has %d levels, in the real file %d", name, len(got), len(want))
		}
	}
	if compared != 19 {
		t.Errorf("%d columns compared, want 19", compared)
	}
	for name, c := range map[string]table{"the real file": real, "the generated base": made} {
		pick := func(a, b string) []string {
			if v, ok := c.column[a]; ok {
				return v
			}
			return c.column[b]
		}
		monthly, total, tenure := pick("monthlyCharges", "MonthlyCharges"), pick("totalCharges", "TotalCharges"), c.column["tenure"]
		if r := correlation(t, tenure, total); r < 0.7 || r > 0.9 {
			t.Errorf("%s: tenure and total correlate by %.2f", name, r)
		}
		if r := correlation(t, monthly, total); r < 0.55 || r > 0.75 {
			t.Errorf("%s: monthly and total correlate by %.2f", name, r)
		}
		if r := correlation(t, tenure, monthly); r < 0.1 || r > 0.3 {
			t.Errorf("%s: tenure and monthly correlate by %.2f", name, r)
		}
	}
}

func TestConsents(t *testing.T) {
	made := parseTable(t, bytes.NewReader(generate(t, examples.DefaultSeed, 20_000)))
	for column, want := range map[string]float64{"consent:marketing": 0.70, "consent:profiling": 0.60} {
		if got := shares(made.column[column])["Yes"]; math.Abs(got-want) > 0.02 {
			t.Errorf("%s: %.3f agree, want %.2f", column, got, want)
		}
	}
}

func shares(values []string) map[string]float64 {
	out := map[string]float64{}
	for _, v := range values {
		out[v] += 1 / float64(len(values))
	}
	return out
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// moments are mean and standard deviation, blanks left out.
func moments(t *testing.T, values []string) (mean, sd float64) {
	t.Helper()
	var n, sum, square float64
	for _, v := range values {
		if strings.TrimSpace(v) == "" {
			continue
		}
		f := number(t, v)
		n, sum, square = n+1, sum+f, square+f*f
	}
	mean = sum / n
	return mean, math.Sqrt(square/n - mean*mean)
}

func compareNumbers(t *testing.T, name string, want, got []string) {
	t.Helper()
	wantMean, wantSD := moments(t, want)
	gotMean, gotSD := moments(t, got)
	if math.Abs(gotMean/wantMean-1) > 0.05 || math.Abs(gotSD/wantSD-1) > 0.08 {
		t.Errorf("%s: mean %.1f spread %.1f, in the real file %.1f and %.1f", name, gotMean, gotSD, wantMean, wantSD)
	}
}

func correlation(t *testing.T, a, b []string) float64 {
	t.Helper()
	var x, y []string
	for i := range a {
		if strings.TrimSpace(a[i]) != "" && strings.TrimSpace(b[i]) != "" {
			x, y = append(x, a[i]), append(y, b[i])
		}
	}
	mx, sx := moments(t, x)
	my, sy := moments(t, y)
	sum := 0.0
	for i := range x {
		sum += (number(t, x[i]) - mx) * (number(t, y[i]) - my)
	}
	return sum / float64(len(x)) / sx / sy
}

func BenchmarkWriteSubscribers(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := examples.WriteSubscribers(io.Discard, examples.DefaultSeed, 10_000); err != nil {
			b.Fatal(err)
		}
	}
}
