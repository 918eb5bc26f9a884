package expr

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func eventEnv(t testing.TB) *Env {
	t.Helper()
	env, err := NewEventEnv(testDictionary(t))
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func eventVars(t testing.TB, data string) *Vars {
	t.Helper()
	vars := testVars(testDictionary(t))
	vars.Event = new(Event)
	vars.Event.Reset(&nba.Event{ID: "E-1", Source: "/network", Type: "com.example.usage", Time: testNow.Add(-time.Minute), Data: json.RawMessage(data)})
	return vars
}

// eventExpressions are evaluated natively and by cel-go, over eventData.
var eventExpressions = []string{
	`event.id == "E-1"`, `event.type.startsWith("com.example")`, `event.source != "/x"`, `event.time < now`, `now - event.time > duration("30s")`,
	`event.data.percent >= 90`, `event.data.percent >= 90.5`, `event.data.percent == 90`, `90 <= event.data.percent`, `event.data.percent in [80, 90]`,
	`event.data.device.phoneNumber == "+15550100"`, `event.data["device"]["phoneNumber"].startsWith("+1")`, `event.data.list[1] == "b"`, `event.data.list[7] == "b"`,
	`has(event.data.percent)`, `has(event.data.device.phoneNumber)`, `has(event.data.device.other)`, `has(event.data.other.phoneNumber)`,
	`event.data.roaming`, `!event.data.roaming`, `event.data.roaming && event.data.percent > 10`, `event.data.roaming || event.data.missing`,
	`event.data.country in ["US", "CA"]`, `event.data.country != "DE"`, `event.data.country < "V"`, `event.data.percent < "V"`, `event.data.country.contains("S")`,
	`event.data.country.matches("^U")`, `event.data.device == "x"`, `event.data.nothing == "x"`, `double(event.data.percent) > 1.0`, `int(event.data.percent) > 1`,
	`double(event.data.text) == 12.5`, `timestamp(event.data.at) < now`, `event.data.roaming == true`, `-event.data.percent < 0.0`,
	`event.data.country == subject.contract`, `event.data.list.size() == 2`, `event.data.list.exists(x, x == "b")`, `event.data.percent + 1.0 > 5.0`,
	`event.data["qu\"oted"] == 1`, `subject.tenure > 12 && event.data.percent > 50`,
}

var eventData = []string{
	`{"percent": 90, "roaming": true, "country": "US", "device": {"phoneNumber": "+15550100"}, "list": ["a", "b"], "nothing": null, "text": "12.5", "at": "2026-01-02T03:04:05Z", "qu\"oted": 1}`,
	` { "device" : { "other" : [ { } , "]" ] , "phoneNumber" : "x\u0041\"" } , "percent" : 9.05e1 , "country" : "\u0055S" } `,
	`{"percent": "90", "roaming": "yes", "country": 7, "device": [], "list": [], "text": "none", "at": "yesterday"}`,
	`{}`, `[]`, `null`, `"text"`, `17`, ``, `{"device": {"phoneNumber": "Ünï"}, "roaming": false, "list": ["b"], "percent": -0}`,
}

// TestEventsNativeAndCEL: what runs in our own evaluator gives what cel-go gives.
func TestEventsNativeAndCEL(t *testing.T) {
	env := eventEnv(t)
	native := 0
	for _, source := range eventExpressions {
		p, problems := env.Compile(source, BoolResult)
		if problems != nil {
			t.Errorf("%s: %+v", source, problems)
			continue
		}
		if p.Native() {
			native++
		}
		reference := celOnly(t, env, source)
		for _, data := range eventData {
			vars := eventVars(t, data)
			if got, want := p.Bool(vars), reference.Bool(vars); got != want {
				t.Errorf("%s over %s: %s, cel-go says %s", source, data, got, want)
			}
		}
	}
	if native < len(eventExpressions)-4 {
		t.Errorf("only %d of %d run in our own evaluator", native, len(eventExpressions))
	}
}

func TestEventValues(t *testing.T) {
	env := eventEnv(t)
	for _, test := range []struct {
		source string
		want   nba.Value
	}{
		{source: `event.data.percent`, want: nba.Float(90)},
		{source: `event.data.country`, want: nba.String("US")},
		{source: `event.data.roaming`, want: nba.Bool(true)},
		{source: `event.time`, want: nba.Time(testNow.Add(-time.Minute))},
		{source: `timestamp(event.data.at)`, want: nba.Time(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))},
		{source: `event.data.country + "!"`, want: nba.String("US!")},
		{source: `int(event.data.percent)`, want: nba.Int(90)},
		{source: `event.data.device`}, {source: `event.data.nothing`}, {source: `event.data.missing`},
	} {
		p, problems := env.Compile(test.source, ValueResult)
		if problems != nil {
			t.Errorf("%s: %+v", test.source, problems)
			continue
		}
		if got, ok := p.Value(eventVars(t, eventData[0])); got != test.want || ok != (test.want != nba.Value{}) {
			t.Errorf("%s: got %v %v", test.source, got, ok)
		}
	}
	number, _ := env.Compile(`event.data.percent`, NumberResult)
	if got, ok := number.Number(eventVars(t, eventData[0])); !ok || got != 90 {
		t.Errorf("got %v %v", got, ok)
	}
	text, _ := env.Compile(`event.data.percent`, TextResult)
	if _, ok := text.Text(eventVars(t, eventData[0])); ok {
		t.Error("a number is taken for text")
	}
}

func TestEventNamesElsewhere(t *testing.T) {
	if _, problems := testEnv(t).Compile(`event.data.x == 1`, BoolResult); len(problems) != 1 || !strings.Contains(problems[0].Detail, `unknown name "event"`) {
		t.Errorf("got %+v", problems)
	}
	for source, want := range map[string]string{`event == 1`: "stands alone", `event.dat.x == 1`: "did you mean event.data?", `has(event.data)`: ""} {
		_, problems := eventEnv(t).Compile(source, BoolResult)
		if (len(problems) == 0) != (want == "") || len(problems) > 0 && !strings.Contains(problems[0].Detail, want) {
			t.Errorf("%s: %+v", source, problems)
		}
	}
	if _, problems := eventEnv(t).Compile(`contexts.page == "x"`, BoolResult); len(problems) != 1 || !strings.Contains(problems[0].Detail, `an expression reads event, subject, now`) {
		t.Errorf("got %+v", problems)
	}
}

// counted are aggregates for tests.
type counted map[string]float64

func (c counted) StrategyAggregate(name string, _ nba.PurposeID, _ nba.PurposeSet) (float64, bool, bool) {
	value, ok := c[name]
	return value, name == "secret", ok
}

func TestAggregates(t *testing.T) {
	env := testEnv(t)
	vars := testVars(testDictionary(t))
	vars.Aggregates = counted{"usage": 3, "data-use": 2.5}
	for source, want := range map[string]Verdict{
		`aggregates.usage == 3.0`: True, `aggregates["data-use"] > 2`: True, `has(aggregates.usage)`: True, `has(aggregates.other)`: False,
		`aggregates.other > 1`: Undefined, `aggregates.other > 1 || true`: True, `[aggregates.usage, 1.0].exists(x, x > 2.0)`: True,
		`[aggregates.other].exists(x, x > 2.0)`: Undefined,
	} {
		p, problems := env.Compile(source, BoolResult)
		if problems != nil {
			t.Errorf("%s: %+v", source, problems)
			continue
		}
		if got := p.Bool(vars); got != want {
			t.Errorf("%s: got %s, want %s", source, got, want)
		}
	}
	p, _ := env.Compile(`aggregates.secret > 1`, BoolResult)
	if p.Bool(vars); vars.Gap().Strategy != "secret" || !vars.Gap().Withheld || len(p.Counts()) != 1 || p.Counts()[0] != "secret" {
		t.Errorf("got %+v %v", vars.Gap(), p.Counts())
	}
	for _, source := range []string{`aggregates == aggregates`, `aggregates[channel] > 1`, `aggregates.size() > 1`} {
		if _, problems := env.Compile(source, BoolResult); len(problems) == 0 {
			t.Errorf("%s compiles", source)
		}
	}
}

// FuzzFind: what the scanner finds is what encoding/json reads, and malformed data is no harm.
func FuzzFind(f *testing.F) {
	for _, data := range eventData {
		f.Add([]byte(data), "device", "phoneNumber")
		f.Add([]byte(data), "percent", "")
	}
	f.Fuzz(func(t *testing.T, data []byte, first, second string) {
		path := []step{{name: first}}
		if second != "" {
			path = append(path, step{name: second})
		}
		raw, _ := find(data, path)
		if raw != nil && len(raw) == 0 {
			t.Fatal("found nothing")
		}
		if raw != nil {
			_ = scalar(raw)
		}
		var whole map[string]json.RawMessage
		if json.Unmarshal(data, &whole) != nil || strings.Contains(string(data), `\`) || strings.Count(string(data), first) != 1 || second != "" {
			return
		}
		want, ok := whole[first]
		if ok != (raw != nil) || ok && strings.TrimSpace(string(want)) != string(raw) {
			t.Fatalf("found %q, want %q", raw, want)
		}
	})
}

func BenchmarkEventFilters(b *testing.B) {
	env := eventEnv(b)
	var programs []*Program
	for _, source := range []string{`event.data.percent >= 90`, `event.data.country == "DE"`, `event.data.device.phoneNumber.startsWith("+49")`,
		`event.data.percent < 10 && subject.tenure > 3`, `has(event.data.offer)`} {
		p, _ := env.Compile(source, BoolResult)
		programs = append(programs, p)
	}
	vars := eventVars(b, `{"percent": 90, "roaming": true, "country": "US", "device": {"phoneNumber": "+15550100"}, "list": ["a", "b"], "text": "12.5"}`)
	event := *vars.Event.event
	b.ReportAllocs()
	for b.Loop() {
		vars.Event.Reset(&event)
		for _, p := range programs {
			p.Bool(vars)
		}
	}
}
