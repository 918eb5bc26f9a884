package node

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// liftMethod names the source of the interval.
const liftMethod = "difference of proportions, 95 % hybrid score interval (Newcombe 1998, method 10)"

// CampaignReport is a run with what came of it: responses, and the lift against those held out.
func (n *Node) CampaignReport(ctx context.Context, name, id string) (report nba.CampaignReport, err error) {
	if report.Run, err = n.CampaignRun(ctx, name, id); err != nil {
		return report, err
	}
	v := n.acquire()
	defer v.release()
	r, err := n.findRun(v, name, report.Run.ID)
	if err != nil {
		return report, err
	}
	answers, err := n.everyGroup(ctx, campaignQuestion{What: askReport, Run: r.Number})
	if err != nil {
		return report, err
	}
	counts := make([]uint64, len(nba.Outcomes))
	var contacted, held campaign.Share
	for i := range answers {
		a := &answers[i]
		for j := range min(len(counts), len(a.Outcomes)) {
			counts[j] += a.Outcomes[j]
		}
		contacted = campaign.Share{Subjects: contacted.Subjects + a.Contacted.Subjects, Responded: contacted.Responded + a.Contacted.Responded}
		held = campaign.Share{Subjects: held.Subjects + a.Held.Subjects, Responded: held.Responded + a.Held.Responded}
	}
	report.Responses = []nba.CampaignOutcome{}
	for i, count := range counts {
		if count > 0 {
			report.Responses = append(report.Responses, nba.CampaignOutcome{Outcome: nba.Outcomes[i], Count: count})
		}
	}
	report.Method = liftMethod
	report.ContactedGroup = nba.CampaignShare{Subjects: contacted.Subjects, Responded: contacted.Responded, Rate: contacted.Rate()}
	report.HeldOutGroup = nba.CampaignShare{Subjects: held.Subjects, Responded: held.Responded, Rate: held.Rate()}
	if lift, ok := campaign.LiftOf(contacted, held); ok {
		shown := nba.CampaignLift(lift)
		report.Lift = &shown
	}
	return report, nil
}

// positives are the outcomes that count as a response for the lift.
func positives() uint16 { return 1<<nba.Accepted.Index() | 1<<nba.Converted.Index() }

// reportGroup counts what came of a run in one group that this node leads.
func (n *Node) reportGroup(q *campaignQuestion, group uint64) (a campaignAnswer, err error) {
	v := n.acquire()
	defer v.release()
	var actions []string
	if r, ok := v.state.Campaigns.Find(q.Run); ok {
		if g := n.specOf(n.ctx, v, r); g != nil {
			actions = g.Actions
		}
	}
	a.Outcomes = make([]uint64, len(nba.Outcomes))
	err = n.router.CampaignMembers(group, q.Run, false, nil, func(m *router.CampaignMember) bool {
		a.Contacted.Subjects++
		if entry, ok := m.Entry(); ok && len(entry.Outcomes) > 0 {
			for i := range a.Outcomes {
				if entry.Outcomes[0]&(1<<i) != 0 {
					a.Outcomes[i]++
				}
			}
		}
		if m.Responded(positives(), actions) {
			a.Contacted.Responded++
		}
		return true
	})
	if err != nil {
		return a, err
	}
	err = n.router.CampaignMembers(group, q.Run, true, nil, func(m *router.CampaignMember) bool {
		a.Held.Subjects++
		if m.Responded(positives(), actions) {
			a.Held.Responded++
		}
		return true
	})
	return a, err
}

// CampaignContacts are those that a run contacted, at most limit of them behind a cursor, which is "" at
// first; next is "" behind the last. While the run goes on there may be more later.
func (n *Node) CampaignContacts(ctx context.Context, name, id string, limit int, cursor string) (contacts []nba.CampaignContact, next string, err error) {
	if err := n.serving(); err != nil {
		return nil, "", err
	}
	n.catchUp(ctx)
	v := n.acquire()
	defer v.release()
	r, err := n.findRun(v, name, id)
	if err != nil {
		return nil, "", err
	}
	if limit <= 0 || limit > nba.MaxCampaignExport {
		limit = nba.MaxCampaignExport
	}
	group, after, err := parseContactCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	for ; group <= uint64(n.router.Groups()); group, after = group+1, nil {
		answers, missing, err := n.gatherCampaign(ctx, campaignQuestion{What: askExport, Run: r.Number, Groups: []uint64{group}, After: after, Limit: limit - len(contacts)})
		if err != nil {
			return nil, "", err
		}
		if len(missing) > 0 {
			return nil, "", nba.Errorf(nba.CodeUnavailable, "the leader of data group %d does not answer: retry shortly", group)
		}
		contacts = append(contacts, answers[0].Contacts...)
		if answers[0].After != nil {
			return contacts, contactCursor(group, answers[0].After), nil
		}
	}
	return contacts, "", nil
}

func contactCursor(group uint64, after []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(binary.BigEndian.AppendUint64(nil, group), after...))
}

func parseContactCursor(cursor string) (group uint64, after []byte, err error) {
	if cursor == "" {
		return 1, nil, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) < 8 || binary.BigEndian.Uint64(raw) == 0 {
		return 0, nil, nba.Invalid("/cursor", "the cursor is not one this server gave out: begin again without")
	}
	return binary.BigEndian.Uint64(raw), raw[8:], nil
}

// exportGroup reads contacts of a run in one group that this node leads.
func (n *Node) exportGroup(q *campaignQuestion, group uint64) (a campaignAnswer, err error) {
	v := n.acquire()
	defer v.release()
	var compiled *catalog.Catalog
	if r, ok := v.state.Campaigns.Find(q.Run); ok {
		compiled, _, _ = n.catalogFor(n.ctx, v, r.CatalogVersion) // without it there is no content
	}
	var tokens tokenWriter
	seen := 0
	err = n.router.CampaignMembers(group, q.Run, false, q.After, func(m *router.CampaignMember) bool {
		if seen == q.Limit {
			return false
		}
		seen++
		a.After = append(a.After[:0], m.Key...)
		if entry, ok := m.Entry(); ok {
			if line, ok := contactOf(m, entry.Record, compiled, &tokens); ok {
				a.Contacts = append(a.Contacts, line)
			}
		}
		return true
	})
	if seen < q.Limit {
		a.After = nil
	}
	return a, err
}

// contactOf is the line of one contact; ok is false for a decision that has none.
func contactOf(m *router.CampaignMember, record []byte, compiled *catalog.Catalog, tokens *tokenWriter) (line nba.CampaignContact, ok bool) {
	decision, err := command.OpenDecision(record)
	if err != nil {
		return line, false
	}
	p, ok := decision.Next()
	if !ok {
		return line, false
	}
	id := m.CampaignMember.Decision
	line = nba.CampaignContact{Subject: m.Ref.ID, Type: string(m.Ref.Type), DecisionID: id.String(), DecidedAt: time.UnixMilli(decision.TimeMS).UTC(),
		Channel: string(append([]byte(nil), decision.Channel...)), Action: string(append([]byte(nil), p.Action...)),
		Treatment: string(append([]byte(nil), p.Treatment...)), Propensity: p.Propensity, Value: p.Value, Priority: p.Priority}
	line.ResponseToken = tokens.token(id, line.Action, line.Treatment)
	if compiled == nil {
		return line, true
	}
	action, known := compiled.Action(line.Action)
	channel, on := compiled.Channel(line.Channel)
	if !known || !on {
		return line, true
	}
	if placement, found := channel.Placement(p.Placement); found {
		if treatment := treatmentOf(action, placement, line.Treatment); treatment != nil {
			line.Content = treatment.Content
		}
	}
	return line, true
}
