package apitest

import (
	"strings"
	"testing"
)

// events sends events in every form that the contract has. It comes after subjects, of which it needs one.
func (s *suite) events(t *testing.T) {
	const structured, batch, lines = "application/cloudevents+json", "application/cloudevents-batch+json", "application/x-ndjson"
	event := func(id, subject string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"contract","type":"contract.happened","subject":"` + subject + `","time":"2026-01-02T03:04:05.5Z","data":{"n":1,"text":"é\u00e9"}}`
	}
	type receipts struct {
		Accepted, Duplicates, DeadLettered int
		Receipts                           []struct{ Status, Letter, Code string }
	}
	s.do(t, call{op: "putSubject", path: "/v1/subjects/contract-event", media: jsonMedia, body: `{"attributes":{}}`, want: 201})
	send := func(media, body string, headers map[string]string) (got receipts) {
		t.Helper()
		_, answer := s.do(t, call{op: "acceptEvents", media: media, body: body, headers: headers, want: 200, invalid: true})
		s.decode(t, answer, &got)
		return got
	}
	check := func(what string, got receipts, statuses ...string) {
		t.Helper()
		var had []string
		for _, r := range got.Receipts {
			had = append(had, r.Status)
		}
		if strings.Join(had, " ") != strings.Join(statuses, " ") || got.Accepted+got.Duplicates+got.DeadLettered != len(statuses) {
			t.Errorf("%s: got %+v, want %v", what, got, statuses)
		}
	}
	check("one", send(structured, event("1", "contract-event"), nil), "accepted")
	check("the same", send(structured, event("1", "contract-event"), nil), "duplicate")
	check("as JSON", send(jsonMedia, event("2", "subscriber:contract-event"), nil), "accepted")
	check("a batch", send(batch, "["+event("2", "contract-event")+","+event("3", "contract-event")+`,{"id":"x"},`+event("4", "none-contract")+"]", nil),
		"duplicate", "accepted", "deadLettered", "deadLettered")
	check("binary", send("text/plain", "hello", map[string]string{"ce-specversion": "1.0", "ce-id": "5", "ce-source": "contract",
		"ce-type": "contract.happened", "ce-subject": "contract%2Devent"}), "accepted")
	dead := send(structured, event("6", "none-contract"), nil)
	check("an unknown subject", dead, "deadLettered")
	check("no subject", send(structured, `{"specversion":"1.0","id":"7","source":"contract","type":"t"}`, nil), "deadLettered")

	_, body := s.do(t, call{op: "acceptEvents", media: lines, body: event("8", "contract-event") + "\n\n" + event("9", "none-contract") + "\nno event\n", want: 200})
	if text := string(body); strings.Count(text, "\n") != 3 || !strings.Contains(text, `{"line":3,`) || !strings.Contains(text, `{"line":4,`) ||
		!strings.Contains(text, `{"summary":{"lines":3,"accepted":1,"duplicates":0,"deadLettered":2}}`) {
		t.Errorf("the answer to lines is %s", text)
	}
	for _, c := range []call{
		{media: structured, body: "{", want: 400, code: "MALFORMED"},
		{media: batch, body: "{}", want: 400, code: "MALFORMED"},
		{media: batch, body: "[" + strings.Repeat(event("1", "contract-event")+",", 1000) + event("1", "contract-event") + "]", want: 413, code: "TOO_LARGE"},
		{media: "text/plain", body: "x", want: 415, code: "UNSUPPORTED_MEDIA"},
		{media: "application/octet-stream", body: "x", want: 415, code: "UNSUPPORTED_MEDIA"},
	} {
		c.op, c.invalid = "acceptEvents", true
		s.do(t, c)
	}
	s.eventLists(t, dead.Receipts[0].Letter)
}

func (s *suite) eventLists(t *testing.T, letter string) {
	var list struct {
		Items []struct {
			Cursor string
			Event  struct{ ID string }
		}
		NextCursor string
	}
	_, body := s.do(t, call{op: "listEvents", path: "/v1/events?subject=contract-event&limit=2", want: 200})
	s.decode(t, body, &list)
	if len(list.Items) != 2 || list.Items[0].Event.ID != "1" || list.NextCursor == "" {
		t.Fatalf("the events are %s", body)
	}
	_, body = s.do(t, call{op: "listEvents", path: "/v1/events?subject=contract-event&cursor=" + list.NextCursor, want: 200})
	s.decode(t, body, &list)
	if len(list.Items) != 3 || list.Items[0].Event.ID != "3" {
		t.Errorf("the next events are %s", body)
	}
	s.do(t, call{op: "listEvents", want: 200})
	s.do(t, call{op: "listEvents", path: "/v1/events?limit=0", want: 422, code: "INVALID"})
	s.do(t, call{op: "listEvents", path: "/v1/events?type=device", want: 422, code: "INVALID"})
	s.do(t, call{op: "listEvents", path: "/v1/events?cursor=contract!", want: 422, code: "INVALID"})

	_, body = s.do(t, call{op: "listLetters", want: 200})
	if !strings.Contains(string(body), `"raw":`) || !strings.Contains(string(body), `"code":"SUBJECT_UNKNOWN"`) {
		t.Errorf("the letters are %s", body)
	}
	_, body = s.do(t, call{op: "getLetter", path: "/v1/events/letters/" + letter, want: 200})
	if !strings.Contains(string(body), `"id":"6"`) {
		t.Errorf("the letter is %s", body)
	}
	_, body = s.do(t, call{op: "replayLetter", path: "/v1/events/letters/" + letter + "/replay", want: 200})
	var again struct{ Status, Letter string }
	if s.decode(t, body, &again); again.Status != "deadLettered" || again.Letter == letter {
		t.Errorf("a letter that was replayed: %s", body)
	}
	s.do(t, call{op: "removeLetter", path: "/v1/events/letters/" + again.Letter, want: 204})
	for _, op := range []string{"getLetter", "removeLetter"} {
		s.do(t, call{op: op, path: "/v1/events/letters/" + again.Letter, want: 404, code: "LETTER_UNKNOWN"})
		s.do(t, call{op: op, path: "/v1/events/letters/" + letter, want: 404, code: "LETTER_UNKNOWN"})
	}
	s.do(t, call{op: "replayLetter", path: "/v1/events/letters/" + canary + "/replay", want: 404, code: "LETTER_UNKNOWN"})
}
