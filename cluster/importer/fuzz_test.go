package importer

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// FuzzCSVScanner compares the scanner with encoding/csv: what that accepts must come out the same.
// The two differ where encoding/csv is lenient about bytes that are not UTF-8, and after the first
// mistake, where encoding/csv stops.
func FuzzCSVScanner(f *testing.F) {
	for _, seed := range []string{
		"a,b\n1,2\n", "a\r\n\r\n\"b\"\n", "\"a\nb\",\"c\"\"d\"\n", "\"a\r\nb\"\r\n", "a,\"b", "a\"b\n", "\"a\"b\n", ",,\n", "\"\"\n", "x\ry\n", "\xff\n",
		"\"a\"\r\n", "\"a\"\r", "\r\r\n", "a,\"\r\n\"", "\"\r\"\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want := csv.NewReader(bytes.NewReader(body))
		want.FieldsPerRecord = -1
		scan := csvScanner{src: newSource(iotestReader{bytes.NewReader(body)}, 1), comma: ','}
		for {
			record, wantErr := want.Read()
			line, bad, err := scan.next()
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			if wantErr != nil && !errors.Is(wantErr, io.EOF) || bad != nil && bad.code == nba.CodeMalformed && bad.reason == notUTF8.reason {
				if bad == nil {
					t.Fatalf("a record is accepted that encoding/csv refuses: %v", wantErr)
				}
				return
			}
			if bad != nil {
				t.Fatalf("a record is refused that encoding/csv accepts: %s", bad.reason)
			}
			if errors.Is(wantErr, io.EOF) != errors.Is(err, io.EOF) {
				t.Fatalf("end of file at different places: %v and %v", err, wantErr)
			}
			if err != nil {
				return
			}
			if !slices.EqualFunc(scan.fields, record, func(a []byte, b string) bool { return string(a) == b }) {
				t.Fatalf("fields %q, want %q", scan.fields, record)
			}
			if wantLine, _ := want.FieldPos(0); line != wantLine {
				t.Fatalf("line %d, want %d", line, wantLine)
			}
		}
	})
}

// iotestReader gives three bytes at a time, so that records lie across reads.
type iotestReader struct{ r io.Reader }

func (r iotestReader) Read(p []byte) (int, error) { return r.r.Read(p[:min(len(p), 3)]) }

// decode reads any JSON value with the cursor, as encoding/json would. Objects become lists of keys
// and values, since the cursor reports repeated keys and leaves the judgement to its caller.
func decode(c *jsonCursor, depth int) (any, bool) {
	switch c.peek() {
	case jsonObject:
		out := []any{"{"}
		for key, more := c.firstKey(); more; key, more = c.nextKey() {
			out = append(out, string(key))
			v, ok := decode(c, depth+1)
			if !ok {
				return nil, false
			}
			out = append(out, v)
		}
		return out, !c.failed()
	case jsonArray:
		return nil, c.skip(depth)
	default:
		kind, text, ok := c.scalar()
		return []any{kind, string(text)}, ok
	}
}

// reference reads the same with encoding/json.
func reference(d *json.Decoder) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '[' {
			for d.More() {
				if _, err := reference(d); err != nil {
					return nil, err
				}
			}
			_, err := d.Token()
			return nil, err
		}
		out := []any{"{"}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := reference(d)
			if err != nil {
				return nil, err
			}
			out = append(out, key, value)
		}
		_, err := d.Token()
		return out, err
	case nil:
		return []any{jsonNull, "null"}, nil
	case bool:
		if v {
			return []any{jsonTrue, "true"}, nil
		}
		return []any{jsonFalse, "false"}, nil
	case json.Number:
		return []any{jsonNumber, string(v)}, nil
	case string:
		return []any{jsonString, v}, nil
	}
	return nil, errors.New("unknown token")
}

// FuzzJSONCursor compares the cursor with encoding/json.
func FuzzJSONCursor(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"b":"x\n\u00e9\ud83d\ude00","c":null,"d":[1,{"e":true}],"f":-0.5e+7}`, `{}`, ` [ ] `, `"\ud800"`, `01`, `1.`, `-`, `1e5`,
		`{"a":1,}`, `{"a"}`, `nul`, `"\x"`, `{"a":1}{`, `"` + "\x7f" + `"`, `"\u00zz"`, `[1,]`, `{"a":[}`, `"\`, `"\u12`, "\"\t\"",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.Count(text, "[")+strings.Count(text, "{") > maxJSONDepth {
			return
		}
		var c jsonCursor
		c.reset([]byte(text))
		got, ok := decode(&c, 0)
		ok = ok && c.atEnd()
		if valid := json.Valid([]byte(text)); ok != valid {
			if !ok && strings.Contains(strings.ToLower(text), `\ud`) {
				return // a lone surrogate, perhaps: refused on purpose
			}
			t.Fatalf("valid is %v, encoding/json says %v", ok, valid)
		}
		if !ok {
			return
		}
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		want, err := reference(d)
		if err != nil {
			t.Fatal(err)
		}
		if !equalJSON(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func equalJSON(a, b any) bool {
	x, ok1 := a.([]any)
	y, ok2 := b.([]any)
	if !ok1 || !ok2 {
		return a == b
	}
	return slices.EqualFunc(x, y, equalJSON)
}

// FuzzScalar compares parseScalar with nba.ParseValue, which it must agree with.
func FuzzScalar(f *testing.F) {
	for _, seed := range []string{"1", "0", "yes", "NO", "True", "false", "ye\u017f", "-0", "+5", "007", "999999999999999999", "-9223372036854775808",
		"9223372036854775808", "1.5", "1e400", "NaN", "inf", "0x1p-2", "2026-01-31", "2026-02-30", "2024-02-29", "0000-01-01", "2026-1-1", "2026-01-31T10:00:00Z", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range []nba.Kind{nba.KindBool, nba.KindInt, nba.KindFloat, nba.KindTime} {
			want, err := nba.ParseValue(kind, text)
			got, bad := parseScalar(kind, []byte(text))
			if (err == nil) != (bad == "") || err == nil && got != want {
				t.Errorf("%s: got %v %q, want %v %v", kind, got.Any(), bad, want.Any(), err)
			}
		}
		id := nba.SubjectRef{ID: text, Type: nba.Subscriber}
		if _, err := id.Normalize(); text != "" && utf8.ValidString(text) && (err == nil) != (checkID(0, []byte(text)) == "") {
			t.Errorf("checkID says %q, Normalize %v", checkID(0, []byte(text)), err)
		}
	})
}

// FuzzParseMapping holds that no mapping makes the parser panic, that its errors have lines, and that
// what it accepts can be declared and bound.
func FuzzParseMapping(f *testing.F) {
	f.Add("subject: {id: a}\nattributes:\n  - {name: n, type: int, blank: default, default: 3}\nconsents: {marketing: {column: c}}\n")
	f.Add("subject: {id: a, type: {column: b}}\nattributes: [{name: s, type: string, levels: [x, y]}]\nignore: [z]\n")
	f.Add("&a [*a]")
	f.Add("a: b\n---\nc: d\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMapping([]byte(text), "m.yaml")
		if err != nil {
			e, ok := errors.AsType[*nba.Error](err)
			if !ok || len(e.Details) == 0 {
				t.Fatalf("error without details: %v", err)
			}
			for _, d := range e.Details {
				if d.File != "m.yaml" || d.Line < 1 {
					t.Fatalf("a mistake without a place: %+v", d)
				}
			}
			return
		}
		dict, _, err := nba.NewDictionary().Declare(m.Declarations())
		if err != nil {
			return // a purpose that is unknown
		}
		if _, err := newObjects(m, dict); err != nil && nba.CodeOf(err) == nba.CodeInternal {
			t.Fatal(err)
		}
	})
}

// FuzzRun imports arbitrary bodies in both formats: no panic, every record accepted or rejected, every
// write readable, result lines in order.
func FuzzRun(f *testing.F) {
	f.Add([]byte("id,n,s,consent:marketing\na,1,x,yes\nb,,\"y\nz\",no\n"), true)
	f.Add([]byte(`{"id":"a","attributes":{"n":1,"s":"x"}}`+"\n\n"+`{"id":"b","consents":{"marketing":true}}`), false)
	f.Add([]byte("\xef\xbb\xbfid\n\"a"), true)
	dict, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{
		{Name: "n", Type: nba.KindInt}, {Name: "s", Type: nba.KindString}, {Name: "f", Type: nba.KindFloat}, {Name: "t", Type: nba.KindTime}, {Name: "b", Type: nba.KindBool},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, asCSV bool) {
		spec := Spec{Format: FormatNDJSON}
		if asCSV {
			spec.Format = FormatCSV
		}
		line := 0
		sum, err := Run(t.Context(), bytes.NewReader(body), spec, dict, checkingSink{t}, func(r Result) error {
			if r.Line < line || r.Reason == "" || r.Code == "" || r.Code == nba.CodeInternal {
				t.Errorf("result %+v after line %d", r, line)
			}
			line = r.Line
			return nil
		})
		if err != nil {
			if nba.CodeOf(err) == nba.CodeInternal {
				t.Fatal(err)
			}
			return
		}
		if sum.Read != sum.Accepted+sum.Rejected || sum.Bytes != int64(len(body)) {
			t.Errorf("summary %+v of %d bytes", sum, len(body))
		}
	})
}

type checkingSink struct{ t *testing.T }

func (s checkingSink) Import(_ context.Context, writes []router.SubjectWrite) error {
	for _, w := range writes {
		if _, err := w.Ref.Normalize(); err != nil {
			s.t.Error(err)
		}
		var r record.Record
		if err := r.Reset(w.Ref, w.Record); err != nil {
			s.t.Error(err)
		}
		for i := range r.Len() {
			if v := r.At(i).Value; v.Kind() == nba.KindFloat && (math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0)) {
				s.t.Error("a float that is not finite")
			} else if v.Kind() == nba.KindString && !utf8.ValidString(v.Str()) {
				s.t.Error("a string that is not UTF-8")
			}
		}
	}
	return nil
}
