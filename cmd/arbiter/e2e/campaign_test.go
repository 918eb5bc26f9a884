package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// campaignKills is how many processes are killed in the test of that: more with ARBITER_CAMPAIGN_KILLS.
const campaignKills = 3

const campaignCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: campaign
channels:
  - {name: web, placements: [hero]}
  - {name: sms, direction: outbound, placements: [message]}
issues: [{name: Grow, groups: [{name: Plans}]}]
actions:
  - {name: plan, issue: Grow, group: Plans, purpose: service, value: 2, treatments: [{name: s, channel: sms, content: {text: Hello}}, {name: w, channel: web}]}
  - {name: odd, issue: Grow, group: Plans, purpose: service, value: 4, eligibility: [{when: subject.number % 2 == 1}], treatments: [{name: s, channel: sms}]}
contactPolicies:
  - {name: once, limit: 1, per: 7d, issue: Grow, counting: decisions}
campaigns:
  - {name: everybody, purpose: service, audience: subject.number % 10 != 0, channels: [sms], holdout: 10, throttle: %d}
`

// campaignCluster is a cluster of three with the subjects C-0 to C-(n-1).
func campaignCluster(t *testing.T, subjects, throttle int) []*server {
	t.Helper()
	nodes := startCluster(t, 3)
	if r := nodes[0].call("PUT", "/v1/attributes", map[string]any{"attributes": []map[string]any{{"name": "number", "type": "int", "purposes": []string{"service"}}}}); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	var lines strings.Builder
	for i := range subjects {
		fmt.Fprintf(&lines, `{"id":"C-%d","attributes":{"number":%d}}`+"\n", i, i)
	}
	dir := t.TempDir()
	file, catalog := filepath.Join(dir, "subjects.ndjson"), filepath.Join(dir, "catalog.yaml")
	for name, text := range map[string]string{file: lines.String(), catalog: strings.ReplaceAll(campaignCatalog, "%d", strconv.Itoa(throttle))} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	nodes[0].mustCLI("subject", "import", file)
	nodes[0].mustCLI("catalog", "apply", catalog)
	return nodes
}

// campaignStatus asks a node that is up, until it answers for all groups.
func campaignStatus(t *testing.T, nodes []*server) (run nba.CampaignRun) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		for _, s := range nodes {
			r, err := s.tryCall("GET", "/v1/campaigns/everybody/runs/latest", nil)
			if err != nil || r.status != 200 {
				continue
			}
			run = nba.CampaignRun{}
			if err := json.Unmarshal(r.body, &run); err != nil {
				t.Fatal(err)
			}
			if run.Audience != run.Contacted+run.HeldOut+run.SuppressedAll() {
				t.Errorf("the account does not add up: %s", r.body)
			}
			if len(run.Progress.Missing) == 0 {
				return run
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody answers: %+v", run)
		}
	}
}

// TestCampaignSurvivesKills kills processes at random moments of a run. An independent count, of the histories
// of all customers, finds nobody contacted twice and nobody forgotten.
func TestCampaignSurvivesKills(t *testing.T) {
	t.Parallel()
	kills := campaignKills
	if text := os.Getenv("ARBITER_CAMPAIGN_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	subjects, throttle := 1000*kills, 600
	nodes := campaignCluster(t, subjects, throttle)
	seed := uint64(time.Now().UnixNano())
	t.Logf("%d subjects, %d kills, seed %d", subjects, kills, seed)
	random := rand.New(rand.NewPCG(seed, 1))
	decode[nba.CampaignRun](t, nodes[0].call("POST", "/v1/campaigns/everybody/runs", nil), 201)
	for range kills {
		time.Sleep(time.Duration(100+random.IntN(900)) * time.Millisecond)
		victim := nodes[random.IntN(len(nodes))]
		victim.kill9()
		time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		victim.restart()
	}
	var run nba.CampaignRun
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if run = campaignStatus(t, nodes); run.State == "done" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the run is not over: %+v", run)
		}
	}
	t.Logf("%d contacted, %d held out, %v", run.Contacted, run.HeldOut, run.Suppressed)
	contacted, none := countContacts(t, nodes, subjects)
	if contacted != run.Contacted || none != run.HeldOut || run.SuppressedAll() != 0 || run.Audience != uint64(subjects-subjects/10) {
		t.Errorf("the histories have %d contacted and %d not; the run says %+v", contacted, none, run.CampaignAccount)
	}
}

// countContacts counts, of the audience, who has one contact and who has none.
func countContacts(t *testing.T, nodes []*server, subjects int) (contacted, none uint64) {
	t.Helper()
	var mu sync.Mutex
	var work sync.WaitGroup
	for w, s := range nodes {
		work.Go(func() {
			for i := w; i < subjects; i += len(nodes) {
				r := s.patiently("GET", fmt.Sprintf("/v1/subjects/C-%d/history", i), nil)
				var page struct {
					Items []nba.Interaction `json:"items"`
				}
				if err := json.Unmarshal(r.body, &page); err != nil || r.status != 200 {
					t.Errorf("%d %s", r.status, r.body)
					return
				}
				mu.Lock()
				switch n := len(page.Items); {
				case n > 1 || n == 1 && i%10 == 0:
					t.Errorf("C-%d has %d contacts", i, n)
				case n == 1:
					contacted++
				case i%10 != 0:
					none++
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return contacted, none
}

// TestCampaignCommands: plan, run, export, import of responses, and the report, as an analyst does it.
func TestCampaignCommands(t *testing.T) {
	t.Parallel()
	nodes := campaignCluster(t, 400, 5000)
	var plan nba.CampaignPlan
	if err := json.Unmarshal([]byte(nodes[1].mustCLI("campaign", "plan", "everybody", "--exact", "-o", "json")), &plan); err != nil || plan.Audience != 360 {
		t.Fatalf("%+v, %v", plan, err)
	}
	var run nba.CampaignRun
	if err := json.Unmarshal([]byte(nodes[2].mustCLI("campaign", "run", "everybody", "--wait", "-o", "json")), &run); err != nil ||
		run.Contacted != plan.Contacted || run.HeldOut != plan.HeldOut || run.ExpectedValue != plan.ExpectedValue {
		t.Fatalf("%+v, planned was %+v, %v", run, plan, err)
	}
	dir := t.TempDir()
	for _, format := range []string{"ndjson", "parquet"} {
		nodes[0].mustCLI("campaign", "export", "everybody", "--dir", dir, "--format", format)
	}
	rows, err := parquet.ReadFile[struct {
		Subject       string `parquet:"subject"`
		Action        string `parquet:"action"`
		ResponseToken string `parquet:"responseToken"`
	}](filepath.Join(dir, run.ID+".parquet"))
	if err != nil || uint64(len(rows)) != run.Contacted {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, run.ID+".ndjson"))
	if err != nil || strings.Count(string(text), "\n") != len(rows) {
		t.Fatalf("%d lines, %v", strings.Count(string(text), "\n"), err)
	}
	responses := "responseToken,outcome\n"
	for i := range rows {
		if i%4 == 0 {
			responses += rows[i].ResponseToken + ",Accepted\n"
		}
	}
	file := filepath.Join(dir, "responses.csv")
	if err := os.WriteFile(file, []byte(responses), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"recorded": ` + strconv.Itoa((len(rows)+3)/4), `"recorded": 0`} {
		if out := nodes[1].mustCLI("respond", "import", file, "-o", "json"); !strings.Contains(out, want) {
			t.Errorf("%s, want %s", out, want)
		}
	}
	var report nba.CampaignReport
	if err := json.Unmarshal([]byte(nodes[0].mustCLI("campaign", "report", "everybody", "-o", "json")), &report); err != nil ||
		report.ContactedGroup.Responded != uint64(len(rows)+3)/4 || report.Lift == nil {
		t.Errorf("%+v, %v", report, err)
	}
	if page := nodes[0].mustCLI("campaign", "report", "everybody", "-o", "html"); !strings.Contains(page, "<svg") || !strings.Contains(page, run.ID) {
		t.Errorf("the page: %.200s", page)
	}
}
