package importer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

func openRouter(t testing.TB, dir string) *router.Router {
	t.Helper()
	r, err := router.Open(context.Background(), router.Options{Dir: dir, DataGroups: 2})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRealFileIntoTheStore imports the real file through raft into bbolt, twice, and counts what is
// there after a restart.
func TestRealFileIntoTheStore(t *testing.T) {
	body, err := os.ReadFile(realdata.Path(t, "telco-ibm/Telco-Customer-Churn.csv"))
	if err != nil {
		t.Fatal(err)
	}
	m := mapping(t, "../../examples/telco-ibm/mapping.yaml")
	dir := t.TempDir()
	r := openRouter(t, dir)
	if err := r.Control().DeclareAttributes(t.Context(), m.Declarations()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		sum, err := importer.Run(t.Context(), bytes.NewReader(body), importer.Spec{Mapping: m}, r.Control().State().Dictionary, r, discard)
		if err != nil || sum.Accepted != 7043 || sum.Blank != 11 {
			t.Fatalf("summary %+v, error %v", sum, err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = openRouter(t, dir)
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	dict := r.Control().State().Dictionary
	total, ok := dict.Attribute("totalCharges")
	if !ok {
		t.Fatal("the attributes are gone")
	}
	subjects, blank := 0, 0
	for line := range bytes.Lines(body) {
		id, _, _ := bytes.Cut(line, []byte(","))
		if string(id) == "customerID" {
			continue
		}
		err := r.View(nba.SubjectRef{ID: string(id), Type: nba.Subscriber}, func(s nba.Subject) error {
			subjects++
			if _, ok := s.Attribute(total.ID); !ok {
				blank++
			}
			if s.Version() != 2 {
				return fmt.Errorf("version %d after two imports", s.Version())
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if subjects != 7043 || blank != 11 {
		t.Errorf("%d subjects, %d without totalCharges; want 7043 and 11", subjects, blank)
	}
}

// BenchmarkImport is the whole way: read, check, encode, replicate, apply; durable at its end.
func BenchmarkImport(b *testing.B) {
	const records = 200_000
	body := bigCSV(b, records)
	m := mapping(b, "../../examples/telco-ibm/mapping.yaml")
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		b.StopTimer()
		r := openRouter(b, b.TempDir())
		if err := r.Control().DeclareAttributes(b.Context(), m.Declarations()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		sum, err := importer.Run(b.Context(), bytes.NewReader(body), importer.Spec{Mapping: m}, r.Control().State().Dictionary, r, discard)
		if err != nil || sum.Accepted != records {
			b.Fatal(sum, err)
		}
		b.StopTimer()
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkNDJSON reads canonical subject documents of 19 attributes. encoding/json decodes the same
// lines into nba.SubjectDocument, for comparison.
func BenchmarkNDJSON(b *testing.B) {
	const records = 50_000
	m := mapping(b, "../../examples/telco-ibm/mapping.yaml")
	dict := declare(b, m)
	sink := newMemorySink(b)
	if _, err := importer.Run(b.Context(), bytes.NewReader(bigCSV(b, records)), importer.Spec{Mapping: m}, dict, sink, discard); err != nil {
		b.Fatal(err)
	}
	var body bytes.Buffer
	for ref, r := range sink.subjects {
		doc := nba.SubjectDocument{SubjectRef: ref, Attributes: map[string]any{}, Consents: map[string]bool{"marketing": true}}
		for i := range r.Len() {
			at := r.At(i)
			attribute, _ := dict.AttributeByID(at.ID)
			doc.Attributes[attribute.Name] = at.Value.Any()
		}
		line, err := json.Marshal(doc)
		if err != nil {
			b.Fatal(err)
		}
		body.Write(append(line, '\n'))
	}
	b.Run("importer", func(b *testing.B) {
		b.SetBytes(int64(body.Len()))
		b.ReportAllocs()
		for b.Loop() {
			sum, err := importer.Run(b.Context(), bytes.NewReader(body.Bytes()), importer.Spec{}, dict, nullSink{}, discard)
			if err != nil || sum.Accepted != records {
				b.Fatal(sum, err)
			}
		}
		b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("encodingJSON", func(b *testing.B) {
		b.SetBytes(int64(body.Len()))
		for b.Loop() {
			for line := range bytes.Lines(body.Bytes()) {
				var doc nba.SubjectDocument
				if err := json.Unmarshal(line, &doc); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
}
