package nba

import "time"

// Limits of what is asked of campaigns.
const (
	// DefaultCampaignSample is how many subjects a plan looks at unless it is told.
	DefaultCampaignSample = 10_000
	// MaxCampaignExport bounds one page of an export.
	MaxCampaignExport = 10_000
)

// Campaign is a campaign of the active catalog, with its runs.
type Campaign struct {
	Name  string `json:"name"`
	Label string `json:"label"`
	// CatalogVersion is that of the catalog it is in.
	CatalogVersion uint64   `json:"catalogVersion"`
	Audience       string   `json:"audience,omitempty"`
	Actions        []string `json:"actions"`
	Channels       []string `json:"channels"`
	Schedule       string   `json:"schedule,omitempty"`
	TimeZone       string   `json:"timeZone,omitempty"`
	// NextRun is when the schedule has the next run begin.
	NextRun   *time.Time `json:"nextRun,omitempty"`
	Volume    uint64     `json:"volume,omitempty"`
	PerSecond float64    `json:"perSecond,omitempty"`
	Holdout   float64    `json:"holdout,omitempty"`
	Sink      string     `json:"sink,omitempty"`
	// Runs are those that are remembered, newest first, without what became of their subjects.
	Runs []CampaignRun `json:"runs"`
}

// CampaignRun is one run: whom it reached, and why not the others. Audience is Contacted + HeldOut + the sum
// of Suppressed.
type CampaignRun struct {
	ID             string     `json:"id"`
	Campaign       string     `json:"campaign"`
	State          string     `json:"state"`
	CatalogVersion uint64     `json:"catalogVersion"`
	DueAt          *time.Time `json:"dueAt,omitempty"`
	StartedAt      time.Time  `json:"startedAt"`
	ChangedAt      time.Time  `json:"changedAt"`
	EndedAt        *time.Time `json:"endedAt,omitempty"`
	CampaignAccount
	Progress CampaignProgress `json:"progress"`
}

// CampaignAccount is what became of the subjects that were looked at.
type CampaignAccount struct {
	Examined   uint64               `json:"examined"`
	Audience   uint64               `json:"audience"`
	Contacted  uint64               `json:"contacted"`
	HeldOut    uint64               `json:"heldOut"`
	Suppressed []CampaignSuppressed `json:"suppressed"`
	Actions    []CampaignAction     `json:"actions"`
	// ExpectedValue is the sum of propensity × value over all contacts, Cost that of what the channels cost.
	ExpectedValue float64 `json:"expectedValue"`
	Cost          float64 `json:"cost"`
}

// SuppressedAll is the sum of Suppressed.
func (a *CampaignAccount) SuppressedAll() (sum uint64) {
	for i := range a.Suppressed {
		sum += a.Suppressed[i].Count
	}
	return sum
}

// CampaignSuppressed are subjects that got nothing for one reason: the stage at which nothing was left, and
// the code that took most.
type CampaignSuppressed struct {
	Stage string `json:"stage"`
	Code  string `json:"code"`
	Count uint64 `json:"count"`
}

// CampaignAction are contacts with one action in one channel.
type CampaignAction struct {
	Action        string  `json:"action"`
	Channel       string  `json:"channel"`
	Count         uint64  `json:"count"`
	ExpectedValue float64 `json:"expectedValue"`
	Cost          float64 `json:"cost"`
}

// CampaignProgress is how far a run is.
type CampaignProgress struct {
	// Subjects are those of the groups that answered.
	Subjects   uint64 `json:"subjects"`
	Groups     int    `json:"groups"`
	GroupsDone int    `json:"groupsDone"`
	// Missing are the groups that did not answer: the counts are without theirs.
	Missing []uint64 `json:"missing,omitempty"`
	// PerSecond is how many subjects were looked at in a second, on average; Remaining how many seconds the
	// rest takes at that rate, while the run is running.
	PerSecond float64  `json:"perSecond"`
	Remaining *float64 `json:"remainingSeconds,omitempty"`
}

// CampaignPlanRequest asks what a run would do now.
type CampaignPlanRequest struct {
	// Sample is how many subjects to look at, chosen by Seed; 0 means DefaultCampaignSample. Exact looks at all.
	Sample int    `json:"sample,omitempty"`
	Exact  bool   `json:"exact,omitempty"`
	Seed   uint64 `json:"seed,omitempty"`
}

// CampaignPlan is what a run would do now. Nothing was sent or recorded.
type CampaignPlan struct {
	Campaign       string    `json:"campaign"`
	CatalogVersion uint64    `json:"catalogVersion"`
	At             time.Time `json:"at"`
	// Exact tells that all subjects were looked at; else the counts are those of Sampled subjects, scaled up
	// to all Subjects.
	Exact    bool   `json:"exact"`
	Subjects uint64 `json:"subjects"`
	Sampled  uint64 `json:"sampled"`
	CampaignAccount
	// Seconds is how long the run would take at the pace of the plan, and under the throttle.
	Seconds float64 `json:"seconds"`
}

// CampaignReport is a run with what came of it.
type CampaignReport struct {
	Run CampaignRun `json:"run"`
	// Responses counts the contacts with each outcome, by outcome, in the order of Outcomes.
	Responses []CampaignOutcome `json:"responses"`
	// ContactedGroup and HeldOutGroup are how many of those contacted and held out accepted or converted
	// since, in any channel, one of the actions of the campaign.
	ContactedGroup CampaignShare `json:"contactedGroup"`
	HeldOutGroup   CampaignShare `json:"heldOutGroup"`
	// Lift is nil where nobody was contacted, or nobody held out.
	Lift *CampaignLift `json:"lift,omitempty"`
	// Method names the source of the interval.
	Method string `json:"method"`
}

// CampaignOutcome counts contacts with an outcome.
type CampaignOutcome struct {
	Outcome Outcome `json:"outcome"`
	Count   uint64  `json:"count"`
}

// CampaignShare is a number of subjects, and how many of them responded.
type CampaignShare struct {
	Subjects  uint64  `json:"subjects"`
	Responded uint64  `json:"responded"`
	Rate      float64 `json:"rate"`
}

// CampaignLift is the difference of the rates of those contacted and those held out, with its 95 % interval.
type CampaignLift struct {
	Difference float64 `json:"difference"`
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	// Relative is the difference as a share of the rate of those held out.
	Relative *float64 `json:"relative,omitempty"`
}

// CampaignContact is one line of an export: what one subject is contacted with.
type CampaignContact struct {
	Subject    string            `json:"subject"`
	Type       string            `json:"type"`
	DecisionID string            `json:"decisionId"`
	DecidedAt  time.Time         `json:"decidedAt"`
	Channel    string            `json:"channel"`
	Action     string            `json:"action"`
	Treatment  string            `json:"treatment"`
	Propensity float64           `json:"propensity"`
	Value      float64           `json:"value"`
	Priority   float64           `json:"priority"`
	Content    map[string]string `json:"content,omitempty"`
	// ResponseToken attributes responses to the contact.
	ResponseToken string `json:"responseToken"`
}
