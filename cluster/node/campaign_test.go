package node

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// campaignCatalog has campaigns with every bound.
const campaignCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: campaigns
channels:
  - {name: web, placements: [hero]}
  - {name: sms, direction: outbound, placements: [message]}
  - {name: push, direction: outbound, placements: [note]}
issues:
  - {name: Grow, groups: [{name: Plans}]}
segments:
  - {name: even, when: subject.number % 2 == 0}
  - {name: small, when: 'segment("even") && subject.number < 100'}
actions:
  - {name: plan, issue: Grow, group: Plans, purpose: service, value: 1, treatments: [{name: s, channel: sms}, {name: w, channel: web}, {name: p, channel: push}]}
  - {name: third, issue: Grow, group: Plans, purpose: service, value: 5, eligibility: [{when: subject.number % 3 == 0}], treatments: [{name: s, channel: sms}]}
  - {name: hello, issue: Grow, group: Plans, purpose: service, value: 0, treatments: [{name: w, channel: web}, {name: s, channel: sms}]}
fallback: {action: hello}
contactPolicies:
  - {name: plans, limit: 1, per: 7d, issue: Grow, counting: decisions, code: ENOUGH}
campaigns:
  - {name: everybody, purpose: service, channels: [sms], actions: [plan, third], holdout: 10}
  - {name: small, purpose: service, audience: 'segment("small")', channels: [{name: sms, cost: 0.05}], actions: [third]}
  - {name: few, purpose: service, channels: [push], volume: 37}
  - {name: slow, purpose: service, channels: [sms], throttle: 40}
`

// loadCampaigns declares, stores and activates what the campaign tests need, with subjects C-0 to C-(n-1).
func loadCampaigns(t testing.TB, n *Node, document string, subjects int) {
	t.Helper()
	ctx := t.Context()
	if _, err := n.DeclareAttributes(ctx, []nba.AttributeDeclaration{{Name: "number", Type: nba.KindInt, Purposes: []string{nba.PurposeService, nba.PurposeMarketing}}}); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for i := range subjects {
		fmt.Fprintf(&lines, `{"id":"C-%d","attributes":{"number":%d}}`+"\n", i, i)
	}
	summary, err := n.ImportSubjects(ctx, strings.NewReader(lines.String()), importer.Spec{Format: importer.FormatNDJSON}, func(r importer.Result) error {
		return fmt.Errorf("line %d: %v", r.Line, r)
	})
	if err != nil || summary.Accepted != subjects {
		t.Fatalf("%+v, %v", summary, err)
	}
	version, err := n.PutCatalog(ctx, []byte(document), "*")
	if err == nil {
		_, err = n.ActivateCatalog(ctx, version.Version, "")
	}
	if err != nil {
		t.Fatalf("%v %+v", err, err)
	}
}

func startCampaign(t testing.TB, n *Node, name string) nba.CampaignRun {
	t.Helper()
	run, err := n.RunCampaign(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// runThrough waits until a run is over.
func runThrough(t testing.TB, n *Node, run nba.CampaignRun) nba.CampaignRun {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		now, err := n.CampaignRun(t.Context(), run.Campaign, run.ID)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", now, err)
		}
		addsUp(t, &now.CampaignAccount)
		if now.State == "done" || now.State == "stopped" {
			return now
		}
	}
}

// addsUp checks that an account accounts for everybody.
func addsUp(t testing.TB, a *nba.CampaignAccount) {
	t.Helper()
	proposed := uint64(0)
	for _, action := range a.Actions {
		proposed += action.Count
	}
	if a.Audience != a.Contacted+a.HeldOut+a.SuppressedAll() || proposed != a.Contacted || a.Examined < a.Audience {
		t.Errorf("the account does not add up: %+v", a)
	}
}

// contactsOf are the contacts of a run by subject, read in small pages; nobody is there twice.
func contactsOf(t testing.TB, n *Node, run nba.CampaignRun) map[string]nba.CampaignContact {
	t.Helper()
	contacts := map[string]nba.CampaignContact{}
	for cursor := ""; ; {
		page, next, err := n.CampaignContacts(t.Context(), run.Campaign, run.ID, 37, cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page {
			if _, twice := contacts[c.Subject]; twice {
				t.Errorf("%s is contacted twice", c.Subject)
			}
			contacts[c.Subject] = c
		}
		if cursor = next; next == "" {
			return contacts
		}
	}
}

// TestCampaignReachesEverybodyOnce: on three nodes a run contacts all whom policies allow, in the best way,
// holds out a tenth, and a second run finds that they had enough.
func TestCampaignReachesEverybodyOnce(t *testing.T) {
	const subjects = 600
	cluster := openCluster(t, 3, 4)
	loadCampaigns(t, cluster[0], campaignCatalog, subjects)
	run := runThrough(t, cluster[1], startCampaign(t, cluster[2], "everybody"))
	contacts := contactsOf(t, cluster[0], run)
	if run.Audience != subjects || run.Contacted != uint64(len(contacts)) || run.SuppressedAll() != 0 || run.HeldOut < 30 || run.HeldOut > 100 || run.Progress.GroupsDone != 4 {
		t.Errorf("%+v with %d contacts", run, len(contacts))
	}
	for i := range subjects {
		id := fmt.Sprintf("C-%d", i)
		items, _, err := cluster[i%3].History(t.Context(), nba.SubjectRef{ID: id}, nil, 10, "")
		c, contacted := contacts[id]
		if err != nil || contacted != (len(items) == 1) {
			t.Fatalf("%s: %d interactions, contacted %v, %v", id, len(items), contacted, err)
		}
		if want := map[bool]string{true: "third", false: "plan"}[i%3 == 0]; contacted && (c.Action != want || items[0].DecisionID != c.DecisionID) {
			t.Errorf("%s is proposed %s, want %s", id, c.Action, want)
		}
	}
	again := runThrough(t, cluster[0], startCampaign(t, cluster[0], "everybody"))
	if again.Contacted != 0 || again.HeldOut != run.HeldOut || len(again.Suppressed) != 1 || again.Suppressed[0].Code != "ENOUGH" || again.Suppressed[0].Stage != "contact" {
		t.Errorf("the second run: %+v", again)
	}
	for id := range contacts {
		replayed, err := cluster[1].ReplayDecision(t.Context(), contacts[id].DecisionID, 0)
		if err != nil || !replayed.Identical {
			t.Errorf("%s made again: %+v, %v", id, replayed.Differences, err)
		}
		break
	}
}

// TestCampaignAudienceAndPlan: a run is for its audience, and a plan says what it will do without doing it.
func TestCampaignAudienceAndPlan(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadCampaigns(t, n, campaignCatalog, 300)
	plan, err := n.PlanCampaign(t.Context(), "small", nba.CampaignPlanRequest{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	addsUp(t, &plan.CampaignAccount)
	if !plan.Exact || plan.Subjects != 300 || plan.Audience != 50 || plan.Contacted != 17 || plan.Cost < 0.849 || plan.Cost > 0.851 ||
		plan.ExpectedValue != 17*0.5*5 || len(plan.Suppressed) != 1 || plan.Suppressed[0].Stage != "eligibility" {
		t.Errorf("%+v", plan)
	}
	if items, _, _ := n.History(t.Context(), nba.SubjectRef{ID: "C-0"}, nil, 10, ""); len(items) != 0 {
		t.Error("a plan left a trace")
	}
	run := runThrough(t, n, startCampaign(t, n, "small"))
	if run.Audience != plan.Audience || run.Contacted != plan.Contacted || run.Cost != plan.Cost || run.ExpectedValue != plan.ExpectedValue {
		t.Errorf("the run %+v is not as planned: %+v", run, plan)
	}
	sample, err := n.PlanCampaign(t.Context(), "everybody", nba.CampaignPlanRequest{Sample: 150, Seed: 3})
	if err != nil || sample.Exact || sample.Sampled < 100 || sample.Sampled > 200 || sample.Contacted < 150 || sample.Audience < 250 || sample.Audience > 350 {
		t.Errorf("%+v, %v", sample, err)
	}
	addsUp(t, &sample.CampaignAccount)
}

// TestCampaignVolumeIsExact: no more than the volume, over all groups, and no less where there are enough.
func TestCampaignVolumeIsExact(t *testing.T) {
	t.Parallel()
	cluster := openCluster(t, 3, 4)
	loadCampaigns(t, cluster[0], campaignCatalog, 400)
	run := runThrough(t, cluster[0], startCampaign(t, cluster[1], "few"))
	if run.Contacted != 37 || run.Audience != 400 || run.SuppressedAll() != 363 {
		t.Errorf("%+v", run)
	}
}

// TestCampaignPausesResumesAndStops: a run that is paused or stopped contacts nobody from a second on, and goes
// on where it was.
func TestCampaignPausesResumesAndStops(t *testing.T) {
	t.Parallel()
	cluster := openCluster(t, 3, 2)
	loadCampaigns(t, cluster[0], campaignCatalog, 120)
	run := startCampaign(t, cluster[0], "slow")
	for now := run; now.Contacted < 10; time.Sleep(20 * time.Millisecond) {
		var err error
		if now, err = cluster[1].CampaignRun(t.Context(), run.Campaign, run.ID); err != nil {
			t.Fatal(err)
		}
	}
	still := func(verb string) nba.CampaignRun {
		if _, err := cluster[2].ChangeCampaign(t.Context(), "slow", run.ID, verb); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		before, err := cluster[1].CampaignRun(t.Context(), "slow", run.ID)
		time.Sleep(500 * time.Millisecond)
		after, err2 := cluster[0].CampaignRun(t.Context(), "slow", run.ID)
		if err != nil || err2 != nil || before.Contacted != after.Contacted || after.Contacted == 120 {
			t.Errorf("after %s: %d, then %d contacted, %v %v", verb, before.Contacted, after.Contacted, err, err2)
		}
		return after
	}
	if paused := still("pause"); paused.State != "paused" {
		t.Errorf("%+v", paused)
	}
	if _, err := cluster[1].RunCampaign(t.Context(), "slow"); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("a second run beside the first: %v", err)
	}
	if _, err := cluster[0].ChangeCampaign(t.Context(), "slow", run.ID, "resume"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	stopped := still("stop")
	if contacts := contactsOf(t, cluster[0], stopped); stopped.State != "stopped" || uint64(len(contacts)) != stopped.Contacted {
		t.Errorf("%+v, %d contacts", stopped, len(contacts))
	}
	if _, err := cluster[0].ChangeCampaign(t.Context(), "slow", run.ID, "resume"); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("a run that was stopped goes on: %v", err)
	}
}

// TestCampaignSharesLimits: beside calls of a channel nobody gets more than one proposition of what a policy
// allows once.
func TestCampaignSharesLimits(t *testing.T) {
	const subjects = 400
	cluster := openCluster(t, 3, 2)
	loadCampaigns(t, cluster[0], campaignCatalog, subjects)
	var work sync.WaitGroup
	for w, n := range cluster {
		work.Go(func() {
			for i := w; i < subjects; i += 4 { // a quarter is left to the run
				req := request(fmt.Sprintf("C-%d", i), "web")
				var d nba.Decision
				if err := n.Decide(t.Context(), req, &d); err != nil {
					t.Error(err)
				}
			}
		})
	}
	run := runThrough(t, cluster[0], startCampaign(t, cluster[1], "everybody"))
	work.Wait()
	byRun := contactsOf(t, cluster[2], run)
	for i := range subjects {
		id := fmt.Sprintf("C-%d", i)
		items, _, err := cluster[0].History(t.Context(), nba.SubjectRef{ID: id}, nil, 10, "")
		if err != nil {
			t.Fatal(err)
		}
		limited := 0
		for _, item := range items {
			if item.Action != "hello" {
				limited++
			}
		}
		if _, contacted := byRun[id]; limited > 1 || contacted && limited != 1 {
			t.Errorf("%s has %d propositions under a limit of one", id, limited)
		}
	}
	if run.Audience != subjects || run.Contacted == 0 {
		t.Errorf("%+v", run)
	}
}

// TestCampaignReport: responses of those contacted and of those held out make the lift.
func TestCampaignReport(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadCampaigns(t, n, campaignCatalog, 500)
	run := runThrough(t, n, startCampaign(t, n, "everybody"))
	for _, c := range contactsOf(t, n, run) {
		if strings.HasSuffix(c.Subject, "1") {
			if _, err := n.Respond(t.Context(), []nba.Response{{ResponseToken: c.ResponseToken, Outcome: nba.Accepted}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	report, err := n.CampaignReport(t.Context(), "everybody", "latest")
	if err != nil {
		t.Fatal(err)
	}
	if report.ContactedGroup.Subjects != run.Contacted || report.HeldOutGroup.Subjects != run.HeldOut || report.HeldOutGroup.Responded != 0 ||
		report.ContactedGroup.Responded < 30 || report.ContactedGroup.Responded > 50 || report.Lift == nil || report.Lift.Low >= report.Lift.Difference {
		t.Errorf("%+v", report)
	}
	if len(report.Responses) != 1 || report.Responses[0].Count != report.ContactedGroup.Responded {
		t.Errorf("%+v", report.Responses)
	}
}

const householdCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: households
channels: [{name: sms, direction: outbound, placements: [message]}]
issues: [{name: Grow, groups: [{name: Plans}]}]
actions: [{name: plan, issue: Grow, group: Plans, purpose: service, value: 1, treatments: [{name: s, channel: sms}]}]
contactPolicies:
  - {name: household, limit: 2, per: 7d, issue: Grow, counting: decisions, level: account, link: household}
campaigns: [{name: everybody, purpose: service, channels: [sms]}]
`

// TestCampaignCountsOnAccounts: limits on the ledgers of accounts, which lie in other groups, hold in a run too.
func TestCampaignCountsOnAccounts(t *testing.T) {
	t.Parallel()
	const households, members = 12, 5
	cluster := openCluster(t, 3, 3)
	if _, err := cluster[0].DeclareAttributes(t.Context(), []nba.AttributeDeclaration{{Name: "household", Type: nba.KindString, Purposes: []string{"service"}}}); err != nil {
		t.Fatal(err)
	}
	activate(t, cluster[0], householdCatalog)
	for i := range households * members {
		doc := nba.SubjectDocument{SubjectRef: nba.SubjectRef{ID: fmt.Sprintf("M-%d", i)}, Attributes: map[string]any{"household": fmt.Sprintf("H-%d", i%households)}}
		if _, _, err := cluster[i%3].PutSubject(t.Context(), doc, nil); err != nil {
			t.Fatal(err)
		}
	}
	run := runThrough(t, cluster[0], startCampaign(t, cluster[1], "everybody"))
	count := map[string]int{}
	for id := range contactsOf(t, cluster[2], run) {
		var i int
		if _, err := fmt.Sscanf(id, "M-%d", &i); err != nil {
			t.Fatal(err)
		}
		count[fmt.Sprintf("H-%d", i%households)]++
	}
	for household, n := range count {
		if n != 2 {
			t.Errorf("%s has %d contacts, want 2", household, n)
		}
	}
	if run.Contacted != 2*households || run.Audience != households*members {
		t.Errorf("%+v", run)
	}
}

// TestCampaignStartsByItself: a campaign that is scheduled for now runs once, whatever is activated afterwards.
func TestCampaignStartsByItself(t *testing.T) {
	t.Parallel()
	n := openNode(t, t.TempDir())
	document := strings.Replace(campaignCatalog, "channels: [push], volume: 37}", "channels: [push], volume: 37, schedule: now}", 1)
	loadCampaigns(t, n, document, 50)
	runs := func() []nba.CampaignRun {
		list, err := n.Campaigns(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			if list[i].Name == "few" {
				return list[i].Runs
			}
		}
		t.Fatal("no such campaign")
		return nil
	}
	for deadline := time.Now().Add(20 * time.Second); len(runs()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not start")
		}
	}
	if run := runThrough(t, n, runs()[0]); run.Contacted != 37 || run.DueAt == nil {
		t.Errorf("%+v", run)
	}
	version, err := n.PutCatalog(t.Context(), []byte(strings.Replace(document, "name: campaigns", "name: again", 1)), "*")
	if err == nil {
		_, err = n.ActivateCatalog(t.Context(), version.Version, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * campaignRound)
	if got := len(runs()); got != 1 {
		t.Errorf("%d runs", got)
	}
}
