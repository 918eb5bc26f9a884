package stream

import (
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/kafka"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func reader(f Format, m Mapping) *Reader {
	return &Reader{cfg: Config{Name: "usage", Format: f, Mapping: m, Kafka: kafka.ConsumerOptions{Topic: "network.usage"}}}
}

func message(value string, headers ...string) *kafka.Message {
	m := &kafka.Message{Offset: 17, Time: time.UnixMilli(1_700_000_000_123), Value: []byte(value)}
	for i := 0; i+1 < len(headers); i += 2 {
		m.Headers = append(m.Headers, kafka.Header{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return m
}

func TestCloudEvents(t *testing.T) {
	r := reader(FormatCloudEvents, Mapping{})
	structured := `{"specversion":"1.0","id":"e1","source":"/net","type":"landed","subject":"S-1","time":"2026-01-31T09:30:00Z","data":{"a":1}}`
	binary := []string{"ce_specversion", "1.0", "ce_id", "e1", "ce_source", "/net", "ce_type", "landed", "ce_subject", "S-1", "ce_time", "2026-01-31T09:30:00Z"}
	for name, m := range map[string]*kafka.Message{
		"structured":                  message(structured, "content-type", "application/cloudevents+json; charset=UTF-8"),
		"structured without a header": message(structured),
		"binary":                      message(`{"a":1}`, append(binary, "content-type", "application/json")...),
		"binary without a type":       message(`{"a":1}`, binary...),
	} {
		e := r.decode(3, m)
		if e.Fault != nil || e.ID != "e1" || e.Source != "/net" || e.Type != "landed" || e.SubjectName != "S-1" || string(e.Data) != `{"a":1}` ||
			!e.Time.Equal(time.Date(2026, 1, 31, 9, 30, 0, 0, time.UTC)) {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if e := r.decode(3, message(`{"specversion":"1.0","id":"e1","source":"/net","type":"landed"}`)); e.Time.UnixMilli() != 1_700_000_000_123 {
		t.Errorf("an event without a time has the time %v, want that of its message", e.Time)
	}
	for name, m := range map[string]*kafka.Message{
		"no JSON":        message(`landed`),
		"nothing":        message(``),
		"no id":          message(`{"specversion":"1.0","source":"/net","type":"landed"}`),
		"a batch":        message(`[]`, "content-type", "application/cloudevents-batch+json"),
		"binary, no id":  message(`{}`, "ce_specversion", "1.0", "ce_source", "/net", "ce_type", "landed"),
		"far too large":  message(`{"specversion":"1.0","id":"e1","source":"/net","type":"landed","data":"` + strings.Repeat("x", 1<<17) + `"}`),
		"another format": message("\x00\x01avro", "content-type", "application/cloudevents+avro"),
	} {
		e := r.decode(3, m)
		if e.Fault == nil || !strings.Contains(e.Fault.Error(), "topic network.usage, partition 3, offset 17: ") || nba.CodeOf(e.Fault) == nba.CodeInternal {
			t.Errorf("%s: the fault is %v, want one that tells the place", name, e.Fault)
		}
		if want := string(m.Value[:min(len(m.Value), nba.MaxEventBytes)]); e.Raw != want {
			t.Errorf("%s: %d bytes are kept, want %d", name, len(e.Raw), len(want))
		}
	}
}

func TestMappedJSON(t *testing.T) {
	r := reader(FormatJSON, Mapping{ID: "record.id", Source: "=mediation", Type: "kind", Time: "at", Subject: "who.msisdn", Data: "record"})
	e := r.decode(0, message(`{"kind":"usage","at":"2026-01-31T10:30:00+01:00","who":{"msisdn":447700900123},"record":{"id":"r-9","mb":90}}`))
	if e.Fault != nil || e.ID != "r-9" || e.Source != "mediation" || e.Type != "usage" || e.SubjectName != "447700900123" ||
		string(e.Data) != `{"id":"r-9","mb":90}` || !e.Time.Equal(time.Date(2026, 1, 31, 9, 30, 0, 0, time.UTC)) {
		t.Errorf("%+v", e)
	}
	short := reader(FormatJSON, Mapping{Type: "=usage", Time: "ms"})
	e = short.decode(2, message(`{"ms":1700000000000,"mb":90}`))
	if e.Fault != nil || e.ID != "2-17" || e.Source != "usage" || e.Type != "usage" || e.SubjectName != "" ||
		string(e.Data) != `{"ms":1700000000000,"mb":90}` || e.Time.UnixMilli() != 1_700_000_000_000 {
		t.Errorf("%+v", e)
	}
	for name, value := range map[string]string{
		"no JSON": `usage`, "half of it": `{"kind":"usage"`, "no type": `{"at":1,"record":{"id":"x"}}`, "a type that is none": `{"kind":{},"at":1,"record":{"id":"x"}}`,
		"no id": `{"kind":"usage","at":1,"record":{}}`, "no time": `{"kind":"usage","record":{"id":"x"}}`, "a time that is none": `{"kind":"usage","at":"noon","record":{"id":"x"}}`,
		"a time before all": `{"kind":"usage","at":-5,"record":{"id":"x"}}`, "a list": `[1]`,
		"a long id": `{"kind":"usage","at":1,"record":{"id":"` + strings.Repeat("x", 5000) + `"}}`,
	} {
		if e := r.decode(3, message(value)); e.Fault == nil || strings.Contains(e.Fault.Error(), "noon") {
			t.Errorf("%s: the fault is %v", name, e.Fault)
		}
	}
}

func TestMappingsAreChecked(t *testing.T) {
	for name, m := range map[string]Mapping{
		"no type": {ID: "id"}, "an empty name": {Type: "a..b"}, "a dot at the end": {Type: "=t", ID: "a."}, "fixed data": {Type: "=t", Data: "=x"},
		"a fixed time": {Type: "=t", Time: "=0"}, "a long path": {Type: strings.Repeat("a", 300)},
	} {
		if m.validate(FormatJSON) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if (&Mapping{Type: "=t"}).validate(FormatCloudEvents) == nil {
		t.Error("a mapping of CloudEvents was accepted")
	}
}

// FuzzDecode: whatever is in a topic, it becomes an event within its limits, or a fault with its place.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"e1","source":"/net","type":"landed"}`), "", "", true)
	f.Add([]byte(`{"a":1}`), "ce_id", "x", true)
	f.Add([]byte(`{"kind":"usage","at":1,"record":{"id":"x"}}`), "content-type", "application/json", false)
	f.Add([]byte(`{"kind":"usage","at":"2026-01-31T09:30:00Z","record":{"id":1e9}}`), "", "", false)
	cloud := reader(FormatCloudEvents, Mapping{})
	mapped := reader(FormatJSON, Mapping{ID: "record.id", Type: "kind", Time: "at", Subject: "who", Data: "record"})
	f.Fuzz(func(t *testing.T, value []byte, name, header string, ce bool) {
		r := mapped
		if ce {
			r = cloud
		}
		e := r.decode(1, message(string(value), name, header, "ce_specversion", "1.0"))
		if e.Fault != nil {
			if !strings.Contains(e.Fault.Error(), "offset 17") || len(e.Raw) > nba.MaxEventBytes {
				t.Fatalf("fault %v with %d bytes", e.Fault, len(e.Raw))
			}
			return
		}
		if e.ID == "" || e.Source == "" || e.Type == "" || e.Time.IsZero() || len(e.ID) > nba.MaxEventText || len(e.Data) > nba.MaxEventBytes {
			t.Fatalf("%+v", e)
		}
	})
}
