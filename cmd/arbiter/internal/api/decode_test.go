package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const fullRequest = ` { "subject" : {"id":"S-000123","type":"account"}, "channel":"web","direction":"outbound",
 "placements":[{"id":"hero","limit":2},{"id":"b\u00e9\ud83d\ude00\n"}],
 "contexts":[{"type":"page","key":"category","value":"family-plans"},{"key":"reason","value":""}],
 "decisionRequestId":"r-1","excludedActions":["a","b"],
 "options":{"explain":"full","simulate":true,"catalogVersion":18446744073709551615,"timeoutMs":250,"consistency":"stale"}} `

func decodeRequest(text string) (nba.DecisionRequest, error) {
	req := nba.DecisionRequest{ // what an earlier request left behind
		Placements: []nba.PlacementRequest{{ID: "old", Limit: 9}}, ExcludedActions: []string{"old"},
		Contexts: []nba.ContextValue{{Type: "old", Key: "old", Value: "old"}}, DecisionRequestID: "old", Channel: "old",
	}
	err := new(jsonReader).decisionRequest(text, &req, 30*time.Second)
	return req, err
}

func TestDecodeDecisionRequest(t *testing.T) {
	got, err := decodeRequest(fullRequest)
	if err != nil {
		t.Fatal(err)
	}
	want := nba.DecisionRequest{
		Subject: nba.SubjectRef{ID: "S-000123", Type: nba.Account}, Channel: "web", Direction: nba.Outbound,
		Placements:        []nba.PlacementRequest{{ID: "hero", Limit: 2}, {ID: "bé😀\n"}},
		Contexts:          []nba.ContextValue{{Type: "page", Key: "category", Value: "family-plans"}, {Key: "reason"}},
		DecisionRequestID: "r-1", ExcludedActions: []string{"a", "b"},
		Options: nba.DecisionOptions{Explain: nba.ExplainFull, Simulate: true, CatalogVersion: math.MaxUint64, TimeoutMS: 250, Consistency: "stale"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got, err = decodeRequest(`{"channel":"web","subject":{"id":"x"}}`)
	want = nba.DecisionRequest{Subject: nba.SubjectRef{ID: "x", Type: nba.Subscriber}, Channel: "web",
		Options: nba.DecisionOptions{Explain: nba.ExplainNone}}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
		t.Errorf("the defaults, or what the request before left behind: %v\n-want +got:\n%s", err, diff)
	}
}

func TestDecodeRefusals(t *testing.T) {
	const head = `{"subject":{"id":"x"},"channel":"web"`
	long := strings.Repeat("x", 257)
	for _, c := range []struct {
		name, text string
		code       nba.Code
		pointer    string // of the first detail
		line       int
	}{
		{"empty", ``, nba.CodeMalformed, "", 1},
		{"blank", " \n\t ", nba.CodeMalformed, "", 2},
		{"byte order mark", "\ufeff" + head + "}", nba.CodeMalformed, "", 1},
		{"wrong type", `[]`, nba.CodeInvalid, "", 0},
		{"text after", head + "} x", nba.CodeMalformed, "", 1},
		{"second value", head + "}{}", nba.CodeMalformed, "", 1},
		{"comment", head + "/* */}", nba.CodeMalformed, "", 1},
		{"single quotes", `{'subject':1}`, nba.CodeMalformed, "", 1},
		{"trailing comma in object", head + `,}`, nba.CodeMalformed, "", 1},
		{"trailing comma in array", head + `,"excludedActions":["a",]}`, nba.CodeMalformed, "/excludedActions", 1},
		{"leading comma", `{,"a":1}`, nba.CodeMalformed, "", 1},
		{"missing colon", `{"subject" 1}`, nba.CodeMalformed, "", 1},
		{"missing comma", "{\"subject\":{\"id\":\"x\"}\n\"channel\":\"web\"}", nba.CodeMalformed, "", 2},
		{"cut string", `{"subject":{"id":"x`, nba.CodeMalformed, "/subject/id", 1},
		{"cut escape", `{"channel":"a\`, nba.CodeMalformed, "/channel", 1},
		{"bad escape", `{"channel":"a\x"}`, nba.CodeMalformed, "/channel", 1},
		{"bad hex", `{"channel":"\u00g0"}`, nba.CodeMalformed, "/channel", 1},
		{"lone high surrogate", `{"channel":"\ud83dx"}`, nba.CodeMalformed, "/channel", 1},
		{"lone low surrogate", `{"channel":"\ude00"}`, nba.CodeMalformed, "/channel", 1},
		{"control character", "{\"channel\":\"a\nb\"}", nba.CodeMalformed, "/channel", 1},
		{"not UTF-8", "{\"channel\":\"\xff\"}", nba.CodeMalformed, "/channel", 1},
		{"not UTF-8 beside an escape", "{\"channel\":\"\\n\xff\"}", nba.CodeMalformed, "/channel", 1},
		{"leading zero", head + `,"options":{"timeoutMs":01}}`, nba.CodeMalformed, "/options", 1},
		{"plus", head + `,"options":{"timeoutMs":+1}}`, nba.CodeMalformed, "/options/timeoutMs", 1},
		{"half a literal", head + `,"options":{"simulate":tru}}`, nba.CodeMalformed, "/options/simulate", 1},
		{"capital literal", head + `,"options":{"simulate":True}}`, nba.CodeMalformed, "/options/simulate", 1},
		{"NaN", head + `,"options":{"timeoutMs":NaN}}`, nba.CodeMalformed, "/options/timeoutMs", 1},
		{"too deep", head + `,"x":` + strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100) + `}`, nba.CodeMalformed, "/x" + strings.Repeat("/0", 15), 1},

		{"no subject", `{"channel":"web"}`, nba.CodeInvalid, "/subject/id", 0},
		{"no channel", `{"subject":{"id":"x"}}`, nba.CodeInvalid, "/channel", 0},
		{"subject type", `{"subject":{"id":"x","type":"household"},"channel":"web"}`, nba.CodeInvalid, "/subject/type", 0},
		{"subject id too long", `{"subject":{"id":"` + long + `"},"channel":"web"}`, nba.CodeInvalid, "/subject/id", 0},
		{"control character in the id", `{"subject":{"id":"a\u0000"},"channel":"web"}`, nba.CodeInvalid, "/subject/id", 0},
		{"unknown name", head + `,"placement":[]}`, nba.CodeInvalid, "/placement", 0},
		{"unknown name in other case", head + `,"Direction":"inbound"}`, nba.CodeInvalid, "/Direction", 0},
		{"unknown name that may be data", head + `,"447700900123":1}`, nba.CodeInvalid, "", 0},
		{"unknown nested name", head + `,"placements":[{"id":"a"},{"id":"b","max":1}]}`, nba.CodeInvalid, "/placements/1/max", 0},
		{"empty name", head + `,"":1}`, nba.CodeInvalid, "/", 0},
		{"repeated name", head + `,"channel":"app"}`, nba.CodeInvalid, "/channel", 0},
		{"repeated name by escape", head + `,"ch\u0061nnel":"app"}`, nba.CodeInvalid, "/channel", 0},
		{"null", head + `,"direction":null}`, nba.CodeInvalid, "/direction", 0},
		{"direction", head + `,"direction":"sideways"}`, nba.CodeInvalid, "/direction", 0},
		{"explain", head + `,"options":{"explain":"all"}}`, nba.CodeInvalid, "/options/explain", 0},
		{"consistency", head + `,"options":{"consistency":""}}`, nba.CodeInvalid, "/options/consistency", 0},
		{"number for bool", head + `,"options":{"simulate":1}}`, nba.CodeInvalid, "/options/simulate", 0},
		{"string for number", head + `,"options":{"timeoutMs":"1"}}`, nba.CodeInvalid, "/options/timeoutMs", 0},
		{"fraction", head + `,"options":{"timeoutMs":1.0}}`, nba.CodeInvalid, "/options/timeoutMs", 0},
		{"exponent", head + `,"options":{"timeoutMs":1e2}}`, nba.CodeInvalid, "/options/timeoutMs", 0},
		{"negative", head + `,"options":{"catalogVersion":-1}}`, nba.CodeInvalid, "/options/catalogVersion", 0},
		{"beyond 64 bits", head + `,"options":{"catalogVersion":18446744073709551616}}`, nba.CodeInvalid, "/options/catalogVersion", 0},
		{"timeout too long", head + `,"options":{"timeoutMs":30001}}`, nba.CodeInvalid, "/options/timeoutMs", 0},
		{"placement limit", head + `,"placements":[{"id":"a","limit":51}]}`, nba.CodeInvalid, "/placements/0/limit", 0},
		{"placement without id", head + `,"placements":[{}]}`, nba.CodeInvalid, "/placements/0/id", 0},
		{"placement twice", head + `,"placements":[{"id":"a"},{"id":"a"}]}`, nba.CodeInvalid, "/placements/1/id", 0},
		{"too many placements", head + `,"placements":[` + placements(17) + `]}`, nba.CodeInvalid, "/placements", 0},
		{"too many exclusions", head + `,"excludedActions":[` + strings.Repeat(`"a",`, 256) + `"a"]}`, nba.CodeInvalid, "/excludedActions", 0},
		{"context without key", head + `,"contexts":[{"value":"a"}]}`, nba.CodeInvalid, "/contexts/0/key", 0},
		{"context without value", head + `,"contexts":[{"key":"a"}]}`, nba.CodeInvalid, "/contexts/0/value", 0},
		{"text too long", head + `,"decisionRequestId":"` + long + `"}`, nba.CodeInvalid, "/decisionRequestId", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := decodeRequest(c.text)
			shown, ok := errors.AsType[*nba.Error](err)
			if !ok || shown.Code != c.code {
				t.Fatalf("got %v (%s), want %s", err, nba.CodeOf(err), c.code)
			}
			if len(shown.Details) == 0 || shown.Details[0].Pointer != c.pointer || shown.Details[0].Line != c.line {
				t.Errorf("got details %+v, want pointer %q and line %d", shown.Details, c.pointer, c.line)
			}
			if strings.Contains(err.Error(), "447700900123") {
				t.Errorf("the error repeats the input: %v", err)
			}
		})
	}
}

func placements(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = `{"id":"p` + string(rune('a'+i)) + `"}`
	}
	return strings.Join(list, ",")
}

func TestDecodeReportsSeveralMistakesAtOnce(t *testing.T) {
	_, err := decodeRequest(`{"subject":{"id":"x"},"channel":1,"direction":"up","placements":[{"limit":-1}],"extra":{"a":[1]}}`)
	shown, ok := errors.AsType[*nba.Error](err)
	if !ok {
		t.Fatal(err)
	}
	var pointers []string
	for _, d := range shown.Details {
		pointers = append(pointers, d.Pointer)
	}
	want := []string{"/channel", "/direction", "/placements/0/limit", "/placements/0/id", "/extra"}
	if !slices.Equal(pointers, want) {
		t.Errorf("got %v, want %v", pointers, want)
	}
	_, err = decodeRequest(`{"x":[` + strings.Repeat(`{"a":1},`, 5000) + `0],` + strings.Repeat(`"y":1,`, 100) + `"z":1}`)
	if shown, ok = errors.AsType[*nba.Error](err); !ok || len(shown.Details) != maxJSONProblems {
		t.Errorf("got %v, want %d details", err, maxJSONProblems)
	}
}

func TestDecodeSubject(t *testing.T) {
	ref := nba.SubjectRef{ID: "S-1", Type: nba.Subscriber}
	doc, err := new(jsonReader).subjectDocument(`{"id":"S-1","type":"subscriber","version":7,"attributes":{"i":12,"big":9223372036854775808,"f":1.0,"e":1e2,"n":-0,"s":"\u0041","b":true},"consents":{"marketing":true,"profiling":false}}`, ref)
	want := nba.SubjectDocument{SubjectRef: ref, Attributes: map[string]any{"i": int64(12), "big": 9223372036854775808.0, "f": 1.0, "e": 100.0, "n": int64(0), "s": "A", "b": true},
		Consents: map[string]bool{"marketing": true, "profiling": false}}
	if diff := cmp.Diff(want, doc); err != nil || diff != "" {
		t.Errorf("%v\n-want +got:\n%s", err, diff)
	}
	patch, err := new(jsonReader).subjectPatch(`{"attributes":{"a":null,"b":false},"consents":{"x":null,"y":true}}`, ref)
	yes := true
	wantPatch := nba.SubjectPatch{SubjectRef: ref, Attributes: map[string]any{"a": nil, "b": false}, Consents: map[string]*bool{"x": nil, "y": &yes}}
	if diff := cmp.Diff(wantPatch, patch); err != nil || diff != "" {
		t.Errorf("%v\n-want +got:\n%s", err, diff)
	}
	for text, pointer := range map[string]string{
		`{"attributes":{"a":1e999}}`:                               "/attributes/a",
		`{"attributes":{"a":{}}}`:                                  "/attributes/a",
		`{"attributes":{"a":null}}`:                                "/attributes/a",
		`{"attributes":{"a":1,"a":1}}`:                             "/attributes/a",
		`{"attributes":[]}`:                                        "/attributes",
		`{"attributes":{},"consents":{"x":1}}`:                     "/consents/x",
		`{"attributes":{},"consents":{"x":null}}`:                  "/consents/x",
		`{"attributes":{},"type":"account"}`:                       "/type",
		`{"attributes":{"a":"` + strings.Repeat("x", 1025) + `"}}`: "/attributes/a",
		`{}`: "/attributes",
	} {
		_, err := new(jsonReader).subjectDocument(text, ref)
		if shown, ok := errors.AsType[*nba.Error](err); !ok || shown.Details[0].Pointer != pointer {
			t.Errorf("%.60s: got %#v, want a detail at %s", text, err, pointer)
		}
	}
}

func TestDecodeResponses(t *testing.T) {
	list, isArray, err := new(jsonReader).responses(`[{"decisionId":"d","action":"a","outcome":"Clicked","value":1.5,"outcomeTime":"2026-01-31T09:30:00.5+01:00"},{"responseToken":"t","outcome":"Rejected"}]`)
	want := []nba.Response{{DecisionID: "d", Action: "a", Outcome: nba.Clicked, Value: 1.5, OutcomeTime: time.Date(2026, 1, 31, 8, 30, 0, 5e8, time.UTC)},
		{ResponseToken: "t", Outcome: nba.Rejected}}
	if diff := cmp.Diff(want, list, cmp.Comparer(time.Time.Equal)); err != nil || !isArray || diff != "" {
		t.Errorf("%v %v\n-want +got:\n%s", err, isArray, diff)
	}
	for text, pointer := range map[string]string{
		`{"outcome":"Clicked"}`:                                             "",
		`{"outcome":"Clicked","decisionId":"d"}`:                            "",
		`{"responseToken":"t"}`:                                             "/outcome",
		`[{"responseToken":"t","outcome":"Clicked"},{"outcome":"clicked"}]`: "/1/outcome",
		`{"responseToken":"t","outcome":"Clicked","outcomeTime":"now"}`:     "/outcomeTime",
		`[]`: "", `1`: "",
	} {
		_, _, err := new(jsonReader).responses(text)
		if shown, ok := errors.AsType[*nba.Error](err); !ok || len(shown.Details) == 0 || shown.Details[0].Pointer != pointer {
			t.Errorf("%s: got %#v, want a detail at %q", text, err, pointer)
		}
	}
}

// FuzzDecisionRequest: what the reader accepts, encoding/json accepts with the same meaning; what
// encoding/json refuses, the reader refuses; and no error repeats the input.
func FuzzDecisionRequest(f *testing.F) {
	for _, seed := range []string{fullRequest, `{"subject":{"id":"x"},"channel":"web"}`, `{"channel":"\ud800"}`, `[`, `{"a":{"b":[1,2,{}]}}`,
		`{"subject":{"id":"x"},"channel":"web","options":{"timeoutMs":1e3}}`, "{\"channel\":\"\xff\"}", `{"placements":[{"id":"a","limit":-0}]}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := decodeRequest(text)
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		var want nba.DecisionRequest
		wantErr := decoder.Decode(&want)
		if wantErr == nil {
			if _, after := decoder.Token(); !errors.Is(after, io.EOF) {
				wantErr = errors.New("text after the value")
			}
		}
		if err != nil {
			if shown, ok := errors.AsType[*nba.Error](err); !ok || shown.Code != nba.CodeInvalid && shown.Code != nba.CodeMalformed {
				t.Fatalf("the error is %v, want one with a code for the caller", err)
			}
			if nba.CodeOf(err) == nba.CodeMalformed && wantErr == nil && !strings.Contains(err.Error(), "UTF-8") &&
				!strings.Contains(err.Error(), "surrogate") && !strings.Contains(err.Error(), "nested") {
				t.Fatalf("%q is malformed (%v) and encoding/json accepts it", text, err)
			}
			return
		}
		if wantErr != nil {
			t.Fatalf("%q was accepted, encoding/json says %v", text, wantErr)
		}
		if want.Options.Explain == "" {
			want.Options.Explain = nba.ExplainNone
		}
		if want.Subject.Type == "" {
			want.Subject.Type = nba.DefaultSubjectType
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q\n-encoding/json +got:\n%s", text, diff)
		}
	})
}

// FuzzSubjectDocument does the same for free maps of values.
func FuzzSubjectDocument(f *testing.F) {
	f.Add(`{"attributes":{"a":1,"b":"x","c":1.5e3,"d":true},"consents":{"m":true}}`)
	f.Add(`{"attributes":{"a":-0.0,"\u0061":1}}`)
	f.Add(`{"attributes":{}} `)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := new(jsonReader).subjectDocument(text, nba.SubjectRef{ID: "x", Type: nba.Subscriber})
		if err != nil {
			return
		}
		var want struct {
			ID, Type   string
			Version    uint64
			Attributes map[string]any
			Consents   map[string]bool
		}
		decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("%q was accepted, encoding/json says %v", text, err)
		}
		for name, value := range got.Attributes {
			if n, ok := value.(int64); ok {
				got.Attributes[name] = float64(n)
			}
		}
		if !reflect.DeepEqual(got.Attributes, want.Attributes) || len(got.Consents) != len(want.Consents) {
			t.Fatalf("%q: got %v, encoding/json says %v", text, got.Attributes, want.Attributes)
		}
	})
}

func BenchmarkDecodeDecisionRequest(b *testing.B) {
	text := []byte(`{"subject":{"id":"S-000123","type":"subscriber"},"channel":"web","placements":[{"id":"hero","limit":2},{"id":"banner","limit":1}],"contexts":[{"type":"page","key":"category","value":"family-plans"}],"options":{"explain":"none"}}`)
	b.Run("reader", func(b *testing.B) {
		var reader jsonReader
		var req nba.DecisionRequest
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			if err := reader.decisionRequest(string(text), &req, time.Second); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			var req nba.DecisionRequest
			decoder := json.NewDecoder(bytes.NewReader(text))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&req); err != nil {
				b.Fatal(err)
			}
		}
	})
}
