package rollout

import (
	"time"
)

// Request asks for a rollout.
type Request struct {
	Plugin  string `json:"plugin"`
	Version string `json:"version"`
	Spec
}

// View is a rollout as people see it.
type View struct {
	ID string `json:"id"`
	Candidate
	Stage    Stage `json:"stage"`
	Permille int   `json:"permille"`
	// Step counts from 1 among Steps, and is 0 outside of them.
	Step   int    `json:"step"`
	Steps  []Step `json:"steps"`
	Auto   bool   `json:"auto"`
	Paused bool   `json:"paused"`
	Cause  string `json:"cause,omitempty"`
	// StartedAt is when the rollout began, Since when the present step did.
	StartedAt time.Time   `json:"startedAt"`
	Since     time.Time   `json:"since"`
	Nodes     []NodeReady `json:"nodes"`
	// Missing are the nodes that do not have the version ready.
	Missing []string `json:"missing"`
	// Arms are the counters since the step began, or of the last one.
	Arms struct {
		Incumbent ArmView `json:"incumbent"`
		Candidate ArmView `json:"candidate"`
	} `json:"arms"`
	// Guardrails are where they stand now, and Breach what they saw when they took the version back.
	Guardrails []Check `json:"guardrails"`
	Breach     []Check `json:"breach,omitempty"`
	Limits     Limits  `json:"limits"`
	History    []Event `json:"history"`
}

// Limits are what a Spec holds besides its steps.
type Limits struct {
	Salt           string `json:"salt"`
	WindowSeconds  int    `json:"windowSeconds"`
	ShadowPermille int    `json:"shadowPermille"`
	Guardrails
}

// ArmView are the counters of one version.
type ArmView struct {
	Decisions    uint64 `json:"decisions"`
	Degraded     uint64 `json:"degraded"`
	Subjects     uint64 `json:"subjects"`
	Calls        uint64 `json:"calls"`
	Errors       uint64 `json:"errors"`
	Rows         uint64 `json:"rows"`
	Dropped      uint64 `json:"dropped"`
	Propositions uint64 `json:"propositions"`
	Accepted     uint64 `json:"accepted"`
	Compared     uint64 `json:"compared"`
	Differed     uint64 `json:"differed"`
	// DistancePPM is the mean difference of the scores of both versions.
	DistancePPM uint64 `json:"distancePpm"`
	FuelP50     uint64 `json:"fuelP50"`
	FuelP99     uint64 `json:"fuelP99"`
	NanosP50    uint64 `json:"nanosP50"`
	NanosP99    uint64 `json:"nanosP99"`
}

// See makes the view of a rollout in a cluster of these members.
func See(r *Rollout, members []string) View {
	v := View{ID: r.ID, Candidate: r.Candidate, Stage: r.Stage, Permille: r.Permille(), Steps: r.Spec.Steps, Auto: r.Spec.Auto,
		Paused: r.Paused, Cause: r.Cause, StartedAt: r.StartedAt, Since: r.Since, Nodes: r.Nodes, Missing: []string{},
		Guardrails: Assess(r), Breach: r.Breach, History: r.History,
		Limits: Limits{Salt: r.Spec.Salt, WindowSeconds: r.Spec.WindowSeconds, ShadowPermille: r.Spec.ShadowPermille, Guardrails: r.Spec.Guardrails}}
	if r.Stage.Comparing() {
		v.Step = r.Step + 1
	}
	if r.Stage.Running() {
		v.Missing = append(v.Missing, r.Missing(members)...)
	}
	if v.Nodes == nil {
		v.Nodes = []NodeReady{}
	}
	if v.Guardrails == nil {
		v.Guardrails = []Check{}
	}
	v.Arms.Incumbent, v.Arms.Candidate = seeArm(&r.Windows.Total[ArmIncumbent]), seeArm(&r.Windows.Total[ArmCandidate])
	return v
}

func seeArm(c *Counts) ArmView {
	v := ArmView{Decisions: c.Decisions, Degraded: c.Degraded, Subjects: c.Subjects, Calls: c.Calls, Errors: c.Errors, Rows: c.Rows,
		Dropped: c.Dropped, Propositions: c.Propositions, Accepted: c.Accepted, Compared: c.Compared, Differed: c.Differed,
		FuelP50: c.Fuel.Quantile(500), FuelP99: c.Fuel.Quantile(990), NanosP50: c.Nanos.Quantile(500), NanosP99: c.Nanos.Quantile(990)}
	if c.Compared > 0 {
		v.DistancePPM = c.DistancePPM / c.Compared
	}
	return v
}
