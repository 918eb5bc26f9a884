package api

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func postEvents(t *testing.T, addr, media, body string) (*http.Response, string) {
	t.Helper()
	response, err := http.Post("http://"+addr+"/v1/events", media, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(answer)
}

func eventLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"specversion":"1.0","id":"%d","source":"s","type":"t","subject":"S-1"}`+"\n", i)
	}
	return b.String()
}

// TestEventsBackPressure: a node that has too much to do says when to come again; events that come one a line wait.
func TestEventsBackPressure(t *testing.T) {
	core := newMemCore()
	addr := start(t, core, nil)
	refuse := func() {
		core.memEvents.mu.Lock()
		defer core.memEvents.mu.Unlock()
		core.refuse = nba.Errorf(nba.CodeOverloaded, "too many events are under way")
	}
	refuse()
	if response, body := postEvents(t, addr, "application/cloudevents-batch+json", "["+strings.TrimSpace(eventLines(1))+"]"); response.StatusCode != http.StatusTooManyRequests ||
		response.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", response.StatusCode, response.Header, body)
	}
	refuse()
	if response, body := postEvents(t, addr, "application/x-ndjson", eventLines(3)); response.StatusCode != http.StatusOK || body != `{"summary":{"lines":3,"accepted":3,"duplicates":0,"deadLettered":0}}`+"\n" {
		t.Errorf("%d %s", response.StatusCode, body)
	}
}

// TestAdminEventsStream: the admin listener takes events of any number, and other forms as the API port does.
func TestAdminEventsStream(t *testing.T) {
	core := newMemCore()
	addr := strings.TrimPrefix(startAdmin(t, core, nil), "http://")
	const n = 3*bulkEventsAtOnce + 7
	response, body := postEvents(t, addr, "application/x-ndjson", eventLines(n)+"no event\n")
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(body, fmt.Sprintf(`{"line":%d,"status":"deadLettered"`, n+1)) ||
		!strings.HasSuffix(body, fmt.Sprintf(`{"summary":{"lines":%d,"accepted":%d,"duplicates":0,"deadLettered":1}}`+"\n", n+1, n)) {
		t.Errorf("%d %s", response.StatusCode, body)
	}
	if response, body := postEvents(t, addr, "application/cloudevents+json", strings.TrimSpace(eventLines(1))); response.StatusCode != http.StatusOK || !strings.Contains(body, `"duplicates":1`) {
		t.Errorf("%d %s", response.StatusCode, body)
	}
	if response, body := postEvents(t, addr, "application/x-ndjson", strings.Repeat("x", maxEventLine+1)); response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a line without an end: %d %.200s", response.StatusCode, body)
	}
}

func BenchmarkEventBatch(b *testing.B) {
	body := []byte("[" + strings.ReplaceAll(strings.TrimSpace(eventLines(128)), "\n", ",") + "]")
	in := &request{body: body, media: "application/cloudevents-batch+json", header: func(string) string { return "" }}
	core := newMemCore()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := acceptEvents(b.Context(), core, in); err != nil {
			b.Fatal(err)
		}
	}
}
