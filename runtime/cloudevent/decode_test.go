package cloudevent

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

const roaming = `{"specversion":"1.0","id":"e-1","source":"https://network.example/roaming","type":"org.camaraproject.device-roaming-status-subscriptions.v0.roaming-on",` +
	`"time":"2026-07-01T10:20:30.5Z","subject":"subscriber:S-1","datacontenttype":"application/json","traceparent":"00-ab","retry":3,` +
	`"data":{"device":{"phoneNumber":"+49151"},"countries":["US",null,{"a":[]}],"n":-1.5e3}}`

func TestStructured(t *testing.T) {
	e, err := Structured(roaming)
	if err != nil {
		t.Fatal(err)
	}
	if e.ID != "e-1" || e.Source != "https://network.example/roaming" || e.SubjectName != "subscriber:S-1" || e.MediaType != "" ||
		e.Time.UnixMilli() != 1782901230500 || string(e.Extensions) != `{"traceparent":"00-ab","retry":3}` ||
		string(e.Data) != `{"device":{"phoneNumber":"+49151"},"countries":["US",null,{"a":[]}],"n":-1.5e3}` {
		t.Errorf("got %+v", e)
	}
}

func TestWhatIsRefused(t *testing.T) {
	base := `"specversion":"1.0","id":"1","source":"s","type":"t"`
	for name, c := range map[string]struct {
		text string
		code nba.Code
	}{
		"no JSON":           {`{`, nba.CodeMalformed},
		"more behind":       {`{` + base + `} x`, nba.CodeMalformed},
		"no object":         {`[]`, nba.CodeInvalid},
		"no id":             {`{"specversion":"1.0","source":"s","type":"t"}`, nba.CodeInvalid},
		"null id":           {`{"specversion":"1.0","id":null,"source":"s","type":"t"}`, nba.CodeInvalid},
		"other version":     {`{"specversion":"0.3","id":"1","source":"s","type":"t"}`, nba.CodeInvalid},
		"id twice":          {`{` + base + `,"id":"2"}`, nba.CodeInvalid},
		"id a number":       {`{"specversion":"1.0","id":1,"source":"s","type":"t"}`, nba.CodeInvalid},
		"bad time":          {`{` + base + `,"time":"yesterday"}`, nba.CodeInvalid},
		"long type":         {`{"specversion":"1.0","id":"1","source":"s","type":"` + strings.Repeat("x", 300) + `"}`, nba.CodeInvalid},
		"extension object":  {`{` + base + `,"ext":{}}`, nba.CodeInvalid},
		"extension name":    {`{` + base + `,"subjectId":"x"}`, nba.CodeInvalid},
		"two kinds of data": {`{` + base + `,"data":1,"data_base64":"AA=="}`, nba.CodeInvalid},
		"bad base64":        {`{` + base + `,"data_base64":"*"}`, nba.CodeInvalid},
		"large data":        {`{` + base + `,"data":"` + strings.Repeat("x", nba.MaxEventBytes) + `"}`, nba.CodeTooLarge},
		"half a surrogate":  {`{` + base + `,"data":"\ud800"}`, nba.CodeMalformed},
		"not UTF-8":         {`{` + base + `,"data":"` + "\xff" + `"}`, nba.CodeMalformed},
		"deep":              {`{` + base + `,"data":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, nba.CodeMalformed},
		"comma at the end":  {`{` + base + `,}`, nba.CodeMalformed},
		"leading zero":      {`{` + base + `,"data":01}`, nba.CodeMalformed},
	} {
		if _, err := Structured(c.text); nba.CodeOf(err) != c.code {
			t.Errorf("%s: got %v, want %s", name, err, c.code)
		}
	}
}

func TestDataThatIsNotJSON(t *testing.T) {
	for name, c := range map[string]struct{ member, data, media string }{
		"text":                {`"datacontenttype":"text/xml","data":"<a/>"`, `"<a/>"`, "text/xml"},
		"bytes":               {`"data_base64":"AAE="`, `"AAE="`, "application/octet-stream;base64"},
		"JSON in base64":      {`"datacontenttype":"application/vnd.x+json","data_base64":"eyJhIjoxfQ=="`, `{"a":1}`, ""},
		"null":                {`"data":null`, ``, ""},
		"a text that is JSON": {`"data":"x"`, `"x"`, ""},
	} {
		e, err := Structured(`{"specversion":"1.0","id":"1","source":"s","type":"t",` + c.member + `}`)
		if err != nil || string(e.Data) != c.data || e.MediaType != c.media {
			t.Errorf("%s: got %s of %q, %v", name, e.Data, e.MediaType, err)
		}
	}
}

func TestBatch(t *testing.T) {
	var got []string
	each := func(raw string, e nba.Event, err error) {
		if err != nil {
			got = append(got, string(nba.CodeOf(err))+" "+raw)
		} else {
			got = append(got, e.ID)
		}
	}
	text := ` [{"specversion":"1.0","id":"1","source":"s","type":"t"} , {"id":"2"},7,{"specversion":"1.0","id":"3","source":"s","type":"t","data":[1,2]}] `
	if err := Batch(text, 10, each); err != nil {
		t.Fatal(err)
	}
	if want := `1|INVALID {"id":"2"}|INVALID 7|3`; strings.Join(got, "|") != want {
		t.Errorf("got %s, want %s", strings.Join(got, "|"), want)
	}
	for text, code := range map[string]nba.Code{"{}": nba.CodeMalformed, "[": nba.CodeMalformed, "[{}": nba.CodeMalformed, "[] x": nba.CodeMalformed, "[]": "", text: nba.CodeTooLarge} {
		if err := Batch(text, 2, each); nba.CodeOf(err) != code {
			t.Errorf("%s: got %v, want %s", text, err, code)
		}
	}
}

func TestBinary(t *testing.T) {
	read := func(media, body string, headers ...string) (nba.Event, error) {
		return Binary(media, []byte(body), func(yield func(name, value string)) {
			for i := 0; i < len(headers); i += 2 {
				yield(headers[i], headers[i+1])
			}
		})
	}
	e, err := read("application/json", `{"a":1}`, "Specversion", "1.0", "Id", "7", "Source", "/s", "Type", "t", "Subject", "S-1", "Partitionkey", `a"b`)
	if err != nil || e.ID != "7" || string(e.Data) != `{"a":1}` || e.SubjectName != "S-1" || string(e.Extensions) != `{"partitionkey":"a\"b"}` {
		t.Errorf("got %+v, %v", e, err)
	}
	for name, c := range map[string]struct {
		media, body string
		headers     []string
		code        nba.Code
	}{
		"no type":  {"application/json", "1", []string{"specversion", "1.0", "id", "7", "source", "/s"}, nba.CodeInvalid},
		"no JSON":  {"application/json", "{", []string{"specversion", "1.0", "id", "7", "source", "/s", "type", "t"}, nba.CodeMalformed},
		"data":     {"application/json", "1", []string{"specversion", "1.0", "id", "7", "source", "/s", "type", "t", "data", "1"}, nba.CodeInvalid},
		"id twice": {"application/json", "1", []string{"specversion", "1.0", "id", "7", "ID", "8", "source", "/s", "type", "t"}, nba.CodeInvalid},
	} {
		if _, err := read(c.media, c.body, c.headers...); nba.CodeOf(err) != c.code {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if e, err := read("text/plain", "grüß", "specversion", "1.0", "id", "7", "source", "/s", "type", "t"); err != nil || string(e.Data) != `"grüß"` || e.MediaType != "text/plain" {
		t.Errorf("text: got %s of %q, %v", e.Data, e.MediaType, err)
	}
}

func TestSubject(t *testing.T) {
	for _, c := range []struct {
		event nba.Event
		want  nba.SubjectRef
	}{
		{nba.Event{SubjectName: "S-1"}, nba.SubjectRef{Type: "subscriber", ID: "S-1"}},
		{nba.Event{SubjectName: "account:A/1"}, nba.SubjectRef{Type: "account", ID: "A/1"}},
		{nba.Event{SubjectName: "device/D:1"}, nba.SubjectRef{Type: "device", ID: "D:1"}},
		{nba.Event{SubjectName: "tel:+49"}, nba.SubjectRef{Type: "subscriber", ID: "tel:+49"}},
		{nba.Event{Data: json.RawMessage(`{"x":[1,{"device":2}],"device":{"ipv4":{},"phoneNumber":"+4\u0039"}}`)}, nba.SubjectRef{Type: "subscriber", ID: "+49"}},
		{nba.Event{Data: json.RawMessage(`{"device":{"networkAccessIdentifier":"1@x"}}`)}, nba.SubjectRef{Type: "subscriber", ID: "1@x"}},
		{nba.Event{Data: json.RawMessage(`{"device":{}}`)}, nba.SubjectRef{}},
		{nba.Event{Data: json.RawMessage(`[]`)}, nba.SubjectRef{}},
		{nba.Event{}, nba.SubjectRef{}},
	} {
		if got, ok := Subject(&c.event); ok != (c.want.ID != "") || ok && got != c.want {
			t.Errorf("%+v: got %+v, %v", c.event, got, ok)
		}
	}
}

// TestNotificationsOfCAMARA reads every example of a notification that the API definitions have.
func TestNotificationsOfCAMARA(t *testing.T) {
	read := 0
	for _, name := range []string{"device-roaming-status-subscriptions", "device-data-volume-subscriptions"} {
		text, err := os.ReadFile(realdata.Path(t, "camara/code/API_definitions/"+name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var document struct {
			Components struct {
				Examples map[string]struct{ Value any }
			}
		}
		if err := yaml.Unmarshal(text, &document); err != nil {
			t.Fatal(err)
		}
		for example, e := range document.Components.Examples {
			if notification, ok := e.Value.(map[string]any); !ok || notification["specversion"] == nil {
				continue
			}
			body, err := json.Marshal(e.Value)
			if err != nil {
				t.Fatal(err)
			}
			event, err := Structured(string(body))
			if err != nil {
				t.Errorf("%s %s: %v", name, example, err)
				continue
			}
			if ref, ok := Subject(&event); !ok || ref.ID != "+123456789" {
				t.Errorf("%s %s: the subject is %+v", name, example, ref)
			}
			read++
		}
	}
	if read < 10 {
		t.Errorf("only %d notifications were read", read)
	}
}

// FuzzStructured: what is taken for an event is JSON for the standard library too, and so is its data.
func FuzzStructured(f *testing.F) {
	f.Add(roaming)
	f.Add(`{"specversion":"1.0","id":"\u0031","source":"s","type":"t","data_base64":"AA==","x":true}`)
	f.Add(`{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"a":[{},[],"\ud83d\ude00",1e5,-0.1,null]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Structured(text)
		_ = Batch("["+text+"]", 3, func(string, nba.Event, error) {})
		if err != nil {
			if code := nba.CodeOf(err); code != nba.CodeInvalid && code != nba.CodeMalformed && code != nba.CodeTooLarge {
				t.Fatalf("code %s", code)
			}
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatal("it is not JSON")
		}
		if e.ID == "" || e.Source == "" || e.Type == "" || e.Data != nil && !json.Valid(e.Data) || e.Extensions != nil && !json.Valid(e.Extensions) {
			t.Fatalf("got %+v", e)
		}
		_, _ = Subject(&e)
		again, err := Structured(string(Append(nil, &e)))
		if err != nil || again.ID != e.ID || string(again.Data) != string(e.Data) || again.MediaType != e.MediaType || string(again.Extensions) != string(e.Extensions) ||
			!again.Time.Equal(e.Time) || again.SubjectName != e.SubjectName {
			t.Fatalf("got %+v, %v after it was written, want %+v", again, err, e)
		}
	})
}

func BenchmarkStructured(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(roaming)))
	for b.Loop() {
		if _, err := Structured(roaming); err != nil {
			b.Fatal(err)
		}
	}
}
