package importer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sinkFunc is a Sink of one function.
type sinkFunc func(ctx context.Context, writes []router.SubjectWrite) error

func (f sinkFunc) Import(ctx context.Context, writes []router.SubjectWrite) error {
	return f(ctx, writes)
}

func dictionary(t testing.TB, attributes ...nba.AttributeDeclaration) *nba.Dictionary {
	t.Helper()
	d, _, err := nba.NewDictionary().Declare(attributes)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var number = nba.AttributeDeclaration{Name: "n", Type: nba.KindInt}

// lines is a canonical CSV body of n records.
func lines(n int) string {
	var b strings.Builder
	b.WriteString("id,n\n")
	for i := range n {
		b.WriteString(strconv.Itoa(i) + "," + strconv.Itoa(i) + "\n")
	}
	return b.String()
}

var csvSpec = importer.Spec{Format: importer.FormatCSV}

func TestBatches(t *testing.T) {
	const n = 2*importer.BatchRecords + 1
	var sizes []int
	next := 0
	sink := sinkFunc(func(_ context.Context, writes []router.SubjectWrite) error {
		sizes = append(sizes, len(writes))
		for _, w := range writes {
			var r record.Record
			if err := r.Reset(w.Ref, w.Record); err != nil {
				return err
			}
			if v, ok := r.Attribute(0); w.Ref.ID != strconv.Itoa(next) || !ok || v.Kind() != nba.KindInt {
				return fmt.Errorf("record %d is another", next)
			}
			next++
		}
		return nil
	})
	sum, err := importer.Run(t.Context(), strings.NewReader(lines(n)), csvSpec, dictionary(t, number), sink, discard)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Accepted != n || fmt.Sprint(sizes) != fmt.Sprint([]int{importer.BatchRecords, importer.BatchRecords, 1}) {
		t.Errorf("%d accepted in batches of %v", sum.Accepted, sizes)
	}
}

// TestReadsWhileCommitting: the sink cannot finish its first batch before more than a batch of the
// body was read.
func TestReadsWhileCommitting(t *testing.T) {
	body := lines(4 * importer.BatchRecords)
	read := make(chan struct{})
	r := &signalReader{r: strings.NewReader(body), after: len(lines(importer.BatchRecords)) + 200_000, reached: read}
	sink := sinkFunc(func(context.Context, []router.SubjectWrite) error {
		<-read
		return nil
	})
	if len(body) < r.after {
		r.after = len(body)
	}
	if _, err := importer.Run(t.Context(), r, csvSpec, dictionary(t, number), sink, discard); err != nil {
		t.Fatal(err)
	}
}

// signalReader closes reached when so many bytes were read.
type signalReader struct {
	r       io.Reader
	n       int
	after   int
	reached chan struct{}
}

func (s *signalReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if s.n < s.after && s.n+n >= s.after {
		close(s.reached)
	}
	s.n += n
	return n, err
}

func TestSinkErrorEndsTheImport(t *testing.T) {
	broken := errors.New("disk full")
	calls := 0
	sink := sinkFunc(func(context.Context, []router.SubjectWrite) error {
		if calls++; calls == 2 {
			return broken
		}
		return nil
	})
	sum, err := importer.Run(t.Context(), strings.NewReader(lines(50*importer.BatchRecords)), csvSpec, dictionary(t, number), sink, discard)
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want the sink's", err)
	}
	if sum.Accepted != importer.BatchRecords || calls != 2 {
		t.Errorf("%d accepted after %d calls, want the first batch only", sum.Accepted, calls)
	}
	if sum.Bytes >= int64(len(lines(50*importer.BatchRecords))) {
		t.Error("the whole body was read although the sink had failed")
	}
}

func TestReaderErrorEndsTheImport(t *testing.T) {
	broken := errors.New("connection reset")
	body := io.MultiReader(strings.NewReader("id,n\na,1\nb,2"), &errorReader{broken})
	written := 0
	sink := sinkFunc(func(_ context.Context, writes []router.SubjectWrite) error { written += len(writes); return nil })
	sum, err := importer.Run(t.Context(), body, csvSpec, dictionary(t, number), sink, discard)
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want the reader's", err)
	}
	if sum.Accepted != written {
		t.Errorf("%d accepted, %d written", sum.Accepted, written)
	}
}

type errorReader struct{ err error }

func (r *errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestEndlessEmptyReads(t *testing.T) {
	_, err := importer.Run(t.Context(), &errorReader{nil}, csvSpec, dictionary(t, number), nullSink{}, discard)
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v, want io.ErrNoProgress", err)
	}
}

func TestResultErrorEndsTheImport(t *testing.T) {
	gone := errors.New("client gone")
	calls := 0
	_, err := importer.Run(t.Context(), strings.NewReader("id,n\na,x\nb,x\n"), csvSpec, dictionary(t, number), nullSink{}, func(importer.Result) error {
		calls++
		return gone
	})
	if !errors.Is(err, gone) || calls != 1 {
		t.Errorf("error %v after %d results", err, calls)
	}
}

func TestCancelledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var batches atomic.Int32
	sink := sinkFunc(func(context.Context, []router.SubjectWrite) error {
		batches.Add(1)
		cancel()
		return nil
	})
	_, err := importer.Run(ctx, strings.NewReader(lines(20*importer.BatchRecords)), csvSpec, dictionary(t, number), sink, discard)
	if !errors.Is(err, context.Canceled) || batches.Load() != 1 {
		t.Errorf("error %v after %d batches", err, batches.Load())
	}
}

// TestLongRecords: a record beyond the limit is one bad line, wherever its bytes are, and costs no
// more memory than the limit.
func TestLongRecords(t *testing.T) {
	long := strings.Repeat("x", importer.MaxRecordBytes)
	d := dictionary(t, nba.AttributeDeclaration{Name: "s", Type: nba.KindString})
	tests := []struct {
		name, format, body string
		lines              []int
		code               nba.Code
		accepted           int
	}{
		{name: "csv", format: "csv", body: "id,s\na,b\nc," + long + long + long + "\nd,e\n", lines: []int{3}, code: nba.CodeTooLarge, accepted: 2},
		{name: "csv at the end", format: "csv", body: "id,s\na,b\nc," + long, lines: []int{3}, code: nba.CodeTooLarge, accepted: 1},
		{name: "csv in quotes", format: "csv", body: "id,s\na,b\nc,\"" + long + "\"\nd,e\n", lines: []int{3}, code: nba.CodeTooLarge, accepted: 2},
		{name: "csv over many lines", format: "csv", body: "id,s\nc,\"\n" + strings.Repeat("a,b\n", importer.MaxRecordBytes/4) + "\"\n",
			lines: []int{2, importer.MaxRecordBytes/4 + 3}, code: nba.CodeMalformed, accepted: 1},
		{name: "csv value", format: "csv", body: "id,s\na,b\nc," + long[:nba.MaxStringBytes+1] + "\nd," + long[:nba.MaxStringBytes] + "\n",
			lines: []int{3}, code: nba.CodeInvalid, accepted: 2},
		{name: "csv id", format: "csv", body: "id,s\n" + long[:129] + ",b\n" + long[:128] + ",b\n", lines: []int{2}, code: nba.CodeInvalid, accepted: 1},
		{name: "ndjson", format: "ndjson", body: `{"id":"a"}` + "\n" + `{"id":"b","attributes":{"s":"` + long + `"}}` + "\n" + `{"id":"c"}`,
			lines: []int{2}, code: nba.CodeTooLarge, accepted: 2},
		{name: "ndjson value", format: "ndjson", body: `{"id":"b","attributes":{"s":"` + long[:2000] + `"}}` + "\n", lines: []int{1}, code: nba.CodeInvalid},
		{name: "ndjson nesting", format: "ndjson", body: `{"id":"b","version":` + strings.Repeat("[", 100_000) + "\n" + `{"id":"c"}`,
			lines: []int{1}, code: nba.CodeMalformed, accepted: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []int
			sum, err := importer.Run(t.Context(), strings.NewReader(tt.body), importer.Spec{Format: tt.format}, d, newMemorySink(t), func(r importer.Result) error {
				if r.Code == nba.CodeConflict {
					return nil
				}
				got = append(got, r.Line)
				if len(got) == 1 && r.Code != tt.code {
					t.Errorf("code %s, want %s", r.Code, tt.code)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if tt.name == "csv over many lines" {
				// Only the line of the quote is lost, and the closing quote, which is a record of its own.
				if fmt.Sprint(got) != fmt.Sprint(tt.lines) || sum.Accepted != importer.MaxRecordBytes/4 {
					t.Errorf("bad lines %v with %d accepted", got, sum.Accepted)
				}
				return
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.lines) || sum.Accepted != tt.accepted {
				t.Errorf("bad lines %v with %d accepted, want %v with %d", got, sum.Accepted, tt.lines, tt.accepted)
			}
		})
	}
}

// TestTooLargeSubject: values that are allowed each but too much together refuse their line.
func TestTooLargeSubject(t *testing.T) {
	const columns = 80
	var declarations []nba.AttributeDeclaration
	header, small, large := "id", "a", "b"
	for i := range columns {
		name := fmt.Sprintf("s%d", i)
		declarations = append(declarations, nba.AttributeDeclaration{Name: name, Type: nba.KindString})
		header += "," + name
		small += ",x"
		large += "," + strings.Repeat("x", nba.MaxStringBytes)
	}
	body := header + "\n" + small + "\n" + large + "\nc" + small[1:] + "\n"
	var results []importer.Result
	sink := newMemorySink(t)
	sum, err := importer.Run(t.Context(), strings.NewReader(body), csvSpec, dictionary(t, declarations...), sink, func(r importer.Result) error {
		results = append(results, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Accepted != 2 || len(results) != 1 || results[0].Line != 3 || results[0].Code != nba.CodeTooLarge {
		t.Errorf("summary %+v, results %v", sum, results)
	}
	for ref, r := range sink.subjects {
		if v, ok := r.Attribute(columns - 1); !ok || v.Str() != "x" {
			t.Errorf("subject %s lost its attributes", ref.ID)
		}
	}
}

func TestMerge(t *testing.T) {
	m, err := importer.ParseMapping([]byte("subject: {id: id}\nonExisting: merge\nattributes: [{name: n, type: int, blank: absent}]\n"), "m.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got []router.SubjectWrite
	sink := sinkFunc(func(_ context.Context, writes []router.SubjectWrite) error { got = append(got, writes...); return nil })
	sum, err := importer.Run(t.Context(), strings.NewReader("id,n\na,1\nb,2\na,\n"), importer.Spec{Format: importer.FormatCSV, Mapping: m}, declare(t, m), sink, discard)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Accepted != 3 || sum.Duplicates != 1 || len(got) != 3 || got[2].Ref.ID != "a" {
		t.Fatalf("summary %+v, %d writes", sum, len(got))
	}
	for _, w := range got {
		if !w.Merge {
			t.Error("a write does not merge")
		}
	}
}

// TestDuplicatesAcrossBatches: a subject is remembered beyond its batch and while the memory grows.
func TestDuplicatesAcrossBatches(t *testing.T) {
	const n = 5 * importer.BatchRecords
	body := lines(n) + strings.TrimPrefix(lines(n), "id,n\n")
	var results int
	sum, err := importer.Run(t.Context(), strings.NewReader(body), csvSpec, dictionary(t, number), newMemorySink(t), func(r importer.Result) error {
		if results++; r.Code != nba.CodeConflict || r.Line != n+1+results {
			return fmt.Errorf("result %d is %+v", results, r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Duplicates != n || sum.Accepted != 2*n {
		t.Errorf("summary %+v", sum)
	}
}

func TestUnknownFormat(t *testing.T) {
	_, err := importer.Run(t.Context(), strings.NewReader(""), importer.Spec{Format: "xlsx"}, dictionary(t), nullSink{}, discard)
	if nba.CodeOf(err) != nba.CodeInvalid {
		t.Errorf("error %v, want INVALID", err)
	}
}

func TestMappingAgainstDictionary(t *testing.T) {
	m, err := importer.ParseMapping([]byte("subject: {id: id}\nattributes:\n  - {name: n, type: float}\n  - {name: x, type: int}\n"), "m.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = importer.Run(t.Context(), strings.NewReader("id,n,x\n"), importer.Spec{Format: importer.FormatCSV, Mapping: m}, dictionary(t, number), nullSink{}, discard)
	e, ok := errors.AsType[*nba.Error](err)
	if !ok || len(e.Details) != 2 || e.Details[0].Line != 3 || e.Details[0].Code != nba.CodeConflict ||
		e.Details[1].Line != 4 || e.Details[1].Code != nba.CodeAttributeUnknown {
		t.Errorf("error %v with details %+v", err, e.Details)
	}
}

// TestRefusedWrites: what the store alone can refuse is a bad line too.
func TestRefusedWrites(t *testing.T) {
	const n = 2*importer.BatchRecords + 10
	batch := 0
	sink := sinkFunc(func(_ context.Context, writes []router.SubjectWrite) error {
		if batch++; batch == 2 {
			return nil
		}
		last := strconv.Itoa(len(writes) - 1)
		return &nba.Error{Code: nba.CodeTooLarge, Message: "refused", Details: []nba.Detail{
			{Pointer: "/0", Code: nba.CodeTooLarge, Detail: "too large"}, {Pointer: "/" + last, Code: nba.CodeTooLarge, Detail: "too large"}}}
	})
	var got []int
	sum, err := importer.Run(t.Context(), strings.NewReader(lines(n)), csvSpec, dictionary(t, number), sink, func(r importer.Result) error {
		got = append(got, r.Line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []int{2, importer.BatchRecords + 1, 2*importer.BatchRecords + 2, n + 1}
	if !slices.Equal(got, want) || sum.Accepted != n-4 || sum.Rejected != 4 || sum.Read != n {
		t.Errorf("bad lines %v with %+v, want %v", got, sum, want)
	}
}

// TestOverload: an error that points nowhere is no refusal of lines.
func TestOverload(t *testing.T) {
	for _, e := range []*nba.Error{
		nba.Errorf(nba.CodeOverloaded, "later"),
		{Code: nba.CodeInvalid, Message: "odd", Details: []nba.Detail{{Pointer: "/0"}, {Pointer: "/1"}}},
		{Code: nba.CodeInvalid, Message: "odd", Details: []nba.Detail{{Pointer: "/attributes/0"}}},
	} {
		sink := sinkFunc(func(context.Context, []router.SubjectWrite) error { return e })
		sum, err := importer.Run(t.Context(), strings.NewReader(lines(1)), csvSpec, dictionary(t, number), sink, discard)
		if !errors.Is(err, e) || sum.Accepted != 0 {
			t.Errorf("error %v with %+v, want %v", err, sum, e)
		}
	}
}
