package rollout

import (
	"encoding/json"
	"fmt"
)

// Parse reads the JSON of a State, as a snapshot holds it, and checks it.
func Parse(content []byte) (*State, error) {
	s := &State{}
	if err := json.Unmarshal(content, s); err != nil {
		return nil, fmt.Errorf("reading the rollouts: %w", err)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("reading the rollouts: %w", err)
	}
	return s, nil
}

// check finds what the transitions would never produce.
func (s *State) check() error {
	if len(s.Rollouts) > MaxRollouts || len(s.Running()) > MaxRunning || len(s.Reports) > MaxNodes {
		return fmt.Errorf("there are more rollouts or nodes than there can be")
	}
	for i := 1; i < len(s.Reports); i++ {
		if s.Reports[i-1].Node >= s.Reports[i].Node {
			return fmt.Errorf("report %d is out of order", i)
		}
	}
	running, active := map[string]bool{}, map[string]bool{}
	for i := range s.Rollouts {
		r := &s.Rollouts[i]
		if r.ID == "" || s.index(r.ID) != i || r.Plugin == "" || r.Digest == "" || r.IncumbentDigest == "" || r.Revision == 0 {
			return fmt.Errorf("rollout %d has no id of its own, or no versions", i)
		}
		if err := r.Spec.Validate(); err != nil || r.Spec.WindowSeconds < 1 {
			return fmt.Errorf("rollout %d has an invalid spec: %w", i, err)
		}
		if err := r.check(); err != nil {
			return fmt.Errorf("rollout %d: %w", i, err)
		}
		if r.Stage.Running() && running[r.Plugin] || r.Stage == Active && active[r.Plugin] {
			return fmt.Errorf("rollout %d is the second of its plugin", i)
		}
		running[r.Plugin] = running[r.Plugin] || r.Stage.Running()
		active[r.Plugin] = active[r.Plugin] || r.Stage == Active
	}
	return nil
}

func (r *Rollout) check() error {
	switch r.Stage {
	case Staged, Prepared, Active, Retired, RolledBack:
		if r.Step != 0 {
			return fmt.Errorf("a step at stage %s", r.Stage)
		}
	case Shadow, Canary:
		if r.Step < 0 || r.Step >= len(r.Spec.Steps) || r.Spec.Steps[r.Step].Stage != r.Stage {
			return fmt.Errorf("stage %s is not that of its step", r.Stage)
		}
	default:
		return fmt.Errorf("unknown stage")
	}
	if len(r.History) == 0 || len(r.History) > MaxEvents || len(r.Nodes) > MaxNodes || len(r.Breach) > MaxChecks {
		return fmt.Errorf("a history, nodes or evidence of a length that cannot be")
	}
	for _, w := range [...]*[arms]Counts{&r.Windows.Present, &r.Windows.Previous, &r.Windows.Total} {
		if !w[ArmIncumbent].valid() || !w[ArmCandidate].valid() {
			return fmt.Errorf("more bins than there are")
		}
	}
	return nil
}
