package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
	"go.yaml.in/yaml/v3"
)

const eventCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: events
channels: [{name: sms, direction: outbound, placements: [m]}]
issues: [{name: Grow, groups: [{name: Data}]}]
actions: [{name: extra, issue: Grow, group: Data, value: 3, purpose: service, treatments: [{name: t, channel: sms}]}]
fallback: {action: extra}
events:
  - {name: usage, types: [usage.reported], purpose: service, lateness: 1h, set: {lastUsage: event.data.mb}}
  - {name: roaming, purpose: service, types: [org.camaraproject.device-roaming-status-subscriptions.v0.roaming-on],
     subject: 'event.data.device.phoneNumber', set: {roaming: "true"}}
eventStrategies:
  - {name: used, purpose: service, on: [usage], aggregate: {sum: event.data.mb}}
`

// startEvents declares what the catalog of events needs, and makes it the active one.
func startEvents(t *testing.T, s *server, subjects []string) {
	t.Helper()
	attributes := `{"attributes":[{"name":"lastUsage","type":"int","purposes":["service"]},{"name":"roaming","type":"bool","purposes":["service"]}]}`
	if r := s.repeat("PUT", "/v1/attributes", attributes); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	put := s.repeat("PUT", "/v1/catalog", eventCatalog, "Content-Type", "application/yaml", "If-Match", "*")
	version := decode[nba.CatalogVersion](t, put, 201)
	if r := s.repeat("POST", fmt.Sprintf("/v1/catalog/versions/%d/activate", version.Version), nil); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	var lines strings.Builder
	for _, id := range subjects {
		fmt.Fprintf(&lines, `{"id":%q,"attributes":{},"consents":{"service":true}}`+"\n", id)
	}
	if r := s.repeat("POST", "/v1/subjects/import", lines.String(), "Content-Type", "application/x-ndjson"); r.status != 200 || !strings.Contains(string(r.body), `"rejected":0`) {
		t.Fatalf("%d %s", r.status, r.body)
	}
}

type receipts struct {
	Accepted, Duplicates, DeadLettered int
	Receipts                           []nba.EventReceipt
}

func usage(id, subject string, mb int) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"e2e","type":"usage.reported","subject":%q,"data":{"mb":%d}}`, id, subject, mb)
}

// TestEventsOnceWhateverDies: nodes are killed while events come, and every sender sends again until it is
// answered. At the end each event counts once: in the list, in the sums of a window and in the attributes.
func TestEventsOnceWhateverDies(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, "--data-groups", "4")
	subjects := make([]string, 40)
	for i := range subjects {
		subjects[i] = subscriberID(i)
	}
	startEvents(t, nodes[0], subjects)
	const senders, size = 4, 40
	var stop atomic.Bool
	var work sync.WaitGroup
	var mu sync.Mutex
	sums, sent, again := map[string]int{}, 0, 0
	for sender := range senders {
		work.Go(func() {
			random := rand.New(rand.NewPCG(uint64(sender), 5))
			for n := 0; !stop.Load(); n++ {
				var batch []string
				mine := map[string]int{}
				for i := range size {
					subject, mb := subjects[random.IntN(len(subjects))], 1+random.IntN(100)
					batch = append(batch, usage(fmt.Sprintf("%d-%d-%d", sender, n, i), subject, mb))
					mine[subject] += mb
				}
				body := "[" + strings.Join(batch, ",") + "]"
				tries := 0
				for deadline := time.Now().Add(time.Minute); ; tries++ {
					r, err := nodes[random.IntN(3)].tryCall("POST", "/v1/events", body, "Content-Type", "application/cloudevents-batch+json")
					if err == nil && r.status == 200 {
						var got receipts
						if err := json.Unmarshal(r.body, &got); err != nil || got.DeadLettered > 0 || got.Accepted+got.Duplicates != size {
							t.Errorf("got %s, %v", r.body, err)
						}
						break
					}
					if time.Now().After(deadline) {
						t.Errorf("a batch was not taken within a minute: %v %s", err, r.body)
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
				mu.Lock()
				for subject, mb := range mine {
					sums[subject] += mb
				}
				sent += size
				again += tries
				mu.Unlock()
			}
		})
	}
	for _, victim := range nodes {
		time.Sleep(800 * time.Millisecond)
		victim.kill9()
		time.Sleep(700 * time.Millisecond)
		victim.restart()
	}
	stop.Store(true)
	work.Wait()
	if again == 0 || sent < 1000 {
		t.Errorf("%d events were sent and %d batches sent again: that proves nothing", sent, again)
	}
	checkEvents(t, nodes[1], sent, sums)
	t.Logf("%d events, %d batches sent again", sent, again)
}

func checkEvents(t *testing.T, s *server, sent int, sums map[string]int) {
	t.Helper()
	type page struct {
		Items []struct {
			Event struct {
				ID   string
				Data struct{ MB int }
			}
			Subject nba.SubjectRef
		}
		NextCursor string
	}
	seen := map[string]bool{}
	last := map[string]int{}
	for cursor := ""; ; {
		got := decode[page](t, s.repeat("GET", "/v1/events?limit=1000&cursor="+url.QueryEscape(cursor), nil), 200)
		if len(got.Items) == 0 {
			break
		}
		for _, item := range got.Items {
			if seen[item.Event.ID] {
				t.Errorf("event %s is there twice", item.Event.ID)
			}
			seen[item.Event.ID] = true
			last[item.Subject.ID] = item.Event.Data.MB
		}
		cursor = got.NextCursor
	}
	if len(seen) != sent {
		t.Errorf("%d events are kept, %d were sent", len(seen), sent)
	}
	for subject, want := range sums {
		got := decode[nba.SubjectAggregates](t, s.repeat("GET", "/v1/subjects/"+subject+"/aggregates", nil), 200)
		if len(got.Aggregates) != 1 || got.Aggregates[0].Value == nil || *got.Aggregates[0].Value != float64(want) {
			t.Errorf("%s: got %+v, want a sum of %d", subject, got.Aggregates, want)
		}
		doc := decode[nba.SubjectDocument](t, s.repeat("GET", "/v1/subjects/"+subject, nil), 200)
		if _, ok := doc.Attributes["lastUsage"].(float64); !ok {
			t.Errorf("%s: the attribute that events set is %v", subject, doc.Attributes["lastUsage"])
		}
	}
}

// TestEventsOfEveryForm sends events as operators do, among them the notifications of CAMARA, and looks at what
// came of them with the command line.
func TestEventsOfEveryForm(t *testing.T) {
	t.Parallel()
	s := start(t, "server", "--data", filepath.Join(t.TempDir(), "data"))
	startEvents(t, s, []string{"S-1", "+123456789"})
	for name, c := range map[string]struct {
		media, body string
		headers     []string
		want        receipts
	}{
		"late":   {"application/cloudevents+json", `{"specversion":"1.0","id":"l","source":"e2e","type":"usage.reported","subject":"S-1","time":"2020-01-01T00:00:00Z","data":{"mb":1}}`, nil, receipts{DeadLettered: 1}},
		"early":  {"application/cloudevents+json", `{"specversion":"1.0","id":"e","source":"e2e","type":"other","subject":"S-1","time":"2120-01-01T00:00:00Z"}`, nil, receipts{DeadLettered: 1}},
		"binary": {"text/plain", "hello", []string{"ce-specversion", "1.0", "ce-id", "b", "ce-source", "e2e", "ce-type", "note", "ce-subject", "S-1"}, receipts{Accepted: 1}},
	} {
		r := s.call("POST", "/v1/events", c.body, append([]string{"Content-Type", c.media}, c.headers...)...)
		got := decode[receipts](t, r, 200)
		if got.Receipts = nil; fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: got %s", name, r.body)
		}
	}
	if out := s.mustCLI("event", "send", "--type", "usage.reported", "--subject", "S-1", "--data", `{"mb":7}`); !strings.Contains(out, "accepted") {
		t.Errorf("arbiter event send: %s", out)
	}
	if doc := decode[nba.SubjectDocument](t, s.call("GET", "/v1/subjects/S-1", nil), 200); doc.Attributes["lastUsage"] != 7.0 {
		t.Errorf("the subject is %+v", doc)
	}
	if _, stderr, code := s.cli("event", "send", "--type", "usage.reported", "--subject", "S-2"); code == 0 || !strings.Contains(stderr, "could not be applied") {
		t.Errorf("an event of an unknown customer: %d %s", code, stderr)
	}
	if out := s.mustCLI("event", "letters"); strings.Count(out, "\n") < 4 || !strings.Contains(out, "EVENT_LATE") || !strings.Contains(out, "EVENT_EARLY") || !strings.Contains(out, "SUBJECT_UNKNOWN") {
		t.Errorf("arbiter event letters:\n%s", out)
	}
	startEvents(t, s, []string{"S-2"})
	if out, _, _ := s.cli("event", "letters", "replay", "--all"); !strings.Contains(out, "1 accepted") {
		t.Errorf("arbiter event letters replay --all:\n%s", out)
	}
	for _, line := range strings.Split(camara(t), "\n") {
		if got := decode[receipts](t, s.call("POST", "/v1/events", line, "Content-Type", "application/cloudevents+json"), 200); got.Accepted+got.Duplicates != 1 {
			t.Errorf("%s: got %+v", line, got)
		}
	}
	if doc := decode[nba.SubjectDocument](t, s.call("GET", "/v1/subjects/"+url.PathEscape("+123456789"), nil), 200); doc.Attributes["roaming"] != true {
		t.Errorf("who landed abroad is %+v", doc)
	}
	if out := s.mustCLI("event", "tail", "--subject", "+123456789"); !strings.Contains(out, "roaming-on") || !strings.Contains(out, "data-90-percent") {
		t.Errorf("arbiter event tail:\n%s", out)
	}
	erased := s.call("DELETE", "/v1/subjects/"+url.PathEscape("+123456789"), nil)
	if left := s.call("GET", "/v1/events?limit=1000", nil); erased.status != 204 || strings.Contains(string(left.body), "123456789") {
		t.Errorf("%d: of a subject that was erased there is left %s", erased.status, left.body)
	}
}

// camara are the examples of notifications in its definitions, one a line.
func camara(t *testing.T) string {
	t.Helper()
	var lines []string
	for _, name := range []string{"device-roaming-status-subscriptions", "device-data-volume-subscriptions"} {
		var document struct {
			Components struct {
				Examples map[string]struct{ Value any }
			}
		}
		text, err := os.ReadFile(realdata.Path(t, "camara/code/API_definitions/"+name+".yaml"))
		if err == nil {
			err = yaml.Unmarshal(text, &document)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range document.Components.Examples {
			if notification, ok := e.Value.(map[string]any); ok && notification["specversion"] != nil {
				line, err := json.Marshal(notification)
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, string(line))
			}
		}
	}
	return strings.Join(lines, "\n")
}
