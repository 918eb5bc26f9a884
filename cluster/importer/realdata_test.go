package importer_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// memorySink keeps what was imported, decoded.
type memorySink struct {
	t        testing.TB
	subjects map[nba.SubjectRef]*record.Record
	batches  int
}

func newMemorySink(t testing.TB) *memorySink {
	return &memorySink{t: t, subjects: map[nba.SubjectRef]*record.Record{}}
}

func (s *memorySink) Import(_ context.Context, writes []router.SubjectWrite) error {
	s.batches++
	inBatch := map[nba.SubjectRef]bool{}
	for _, w := range writes {
		if _, err := w.Ref.Normalize(); err != nil {
			s.t.Errorf("a subject reference that is not valid: %v", err)
		}
		if inBatch[w.Ref] {
			s.t.Error("a subject occurs twice in one batch")
		}
		inBatch[w.Ref] = true
		r := &record.Record{}
		if err := r.Reset(w.Ref, w.Record); err != nil {
			s.t.Errorf("a record that cannot be read: %v", err)
		}
		s.subjects[w.Ref] = r
	}
	return nil
}

// discard ignores results.
func discard(importer.Result) error { return nil }

func mapping(t testing.TB, path string) *importer.Mapping {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := importer.ParseMapping(text, path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func declare(t testing.TB, m *importer.Mapping) *nba.Dictionary {
	t.Helper()
	dict, _, err := nba.NewDictionary().Declare(m.Declarations())
	if err != nil {
		t.Fatal(err)
	}
	return dict
}

// TestRealFile imports the 7,043 customers of the IBM sample and compares every value of every line
// with an independent reading of the file.
func TestRealFile(t *testing.T) {
	body, err := os.ReadFile(realdata.Path(t, "telco-ibm/Telco-Customer-Churn.csv"))
	if err != nil {
		t.Fatal(err)
	}
	m := mapping(t, "../../examples/telco-ibm/mapping.yaml")
	dict := declare(t, m)
	sink := newMemorySink(t)
	var results []importer.Result
	sum, err := importer.Run(t.Context(), bytes.NewReader(body), importer.Spec{Mapping: m}, dict, sink, func(r importer.Result) error {
		results = append(results, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := importer.Summary{Read: 7043, Accepted: 7043, Blank: 11, Bytes: int64(len(body))}
	if sum != want || len(results) != 0 {
		t.Errorf("summary %+v with results %v, want %+v and none", sum, results, want)
	}
	if len(sink.subjects) != 7043 {
		t.Errorf("%d subjects, want 7043", len(sink.subjects))
	}

	rows, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	blank := 0
	for _, row := range rows[1:] {
		r := sink.subjects[nba.SubjectRef{ID: row[0], Type: nba.Subscriber}]
		if r == nil {
			t.Fatalf("line of a customer that is not in the store")
		}
		for i, name := range rows[0][1:20] {
			attribute, ok := dict.Attribute(strings.ToLower(name[:1]) + name[1:])
			if !ok {
				t.Fatalf("column %s has no attribute", name)
			}
			v, present := r.Attribute(attribute.ID)
			text := row[i+1]
			if strings.TrimSpace(text) == "" {
				blank++
				if present {
					t.Errorf("a blank %s became a value", name)
				}
				continue
			}
			if !present || !sameValue(v, text) {
				t.Errorf("column %s: imported value differs from the file", name)
			}
		}
		if r.Granted() == 0 {
			t.Error("the fixed consents were not granted")
		}
	}
	if blank != 11 {
		t.Errorf("the file has %d blank values, want 11", blank)
	}
}

func sameValue(v nba.Value, text string) bool {
	switch v.Kind() {
	case nba.KindBool:
		return v.Bool() == (text == "Yes" || text == "1")
	case nba.KindInt:
		return strconv.FormatInt(v.Int(), 10) == text
	case nba.KindFloat:
		f, err := strconv.ParseFloat(text, 64)
		return err == nil && f == v.Float()
	default:
		return v.Str() == text
	}
}

type nullSink struct{}

func (nullSink) Import(context.Context, []router.SubjectWrite) error { return nil }

// bigCSV is the real file repeated, with other ids, up to records records.
func bigCSV(b *testing.B, records int) []byte {
	body, err := os.ReadFile(realdata.Path(b, "telco-ibm/Telco-Customer-Churn.csv"))
	if err != nil {
		b.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(body)), "\n")
	var out bytes.Buffer
	out.WriteString(lines[0] + "\n")
	for i := range records {
		line := lines[1+i%(len(lines)-1)]
		out.WriteString(strconv.Itoa(i/(len(lines)-1)) + line + "\n")
	}
	return out.Bytes()
}

// BenchmarkCSV reads, checks and encodes the 21 columns of the real file; the sink does nothing.
// encodingCSV is what encoding/csv takes to split the same body and no more.
func BenchmarkCSV(b *testing.B) {
	const records = 100_000
	body := bigCSV(b, records)
	m := mapping(b, "../../examples/telco-ibm/mapping.yaml")
	dict := declare(b, m)
	b.Run("importer", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			sum, err := importer.Run(b.Context(), bytes.NewReader(body), importer.Spec{Mapping: m}, dict, nullSink{}, discard)
			if err != nil || sum.Accepted != records {
				b.Fatal(sum, err)
			}
		}
		b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("encodingCSV", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			r := csv.NewReader(bytes.NewReader(body))
			r.ReuseRecord = true
			n := 0
			for ; ; n++ {
				if _, err := r.Read(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
			if n != records+1 {
				b.Fatal(n)
			}
		}
		b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
}
