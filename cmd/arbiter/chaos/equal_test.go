package chaos

import (
	"bufio"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// replicaState is what a node says about its replica of one group.
type replicaState struct{ applied, digest string }

// The metrics that tell how far a replica is and what it holds.
var replicaMetric = regexp.MustCompile(`^arbiter_group_(applied_index|state_digest)\{(.*)\} (\S+)$`)

var groupLabel = regexp.MustCompile(`group="([^"]*)"`)

// replicas reads the states of all groups of a node from its metrics.
func (n *node) replicas() (map[string]replicaState, error) {
	resp, err := n.client.Get("http://" + n.admin + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/metrics of %s answers %d", n.id, resp.StatusCode)
	}
	found := map[string]replicaState{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		m := replicaMetric.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		group := groupLabel.FindStringSubmatch(m[2])
		if group == nil {
			continue
		}
		state := found[group[1]]
		if m[1] == "applied_index" {
			state.applied = m[3]
		} else {
			state.digest += strings.ReplaceAll(m[2], group[0], "") + "=" + m[3] + " "
		}
		found[group[1]] = state
	}
	return found, nil
}

// awaitEqual waits until the replicas of every group have applied the same entries, and demands that
// they then hold the same.
func awaitEqual(t *testing.T, c *cluster) {
	t.Helper()
	if len(c.nodes) == 1 {
		return
	}
	var last string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if last = c.unequal(); last == "" {
			return
		}
	}
	t.Errorf("the replicas are not equal 30 s after the last write: %s", last)
}

// unequal names the groups whose replicas differ.
func (c *cluster) unequal() string {
	first, err := c.nodes[0].replicas()
	if err != nil {
		return err.Error()
	}
	if len(first) == 0 {
		return "no group tells its applied index"
	}
	var differences []string
	for _, n := range c.nodes[1:] {
		other, err := n.replicas()
		if err != nil {
			return err.Error()
		}
		for group, state := range first {
			if other[group] != state {
				differences = append(differences, fmt.Sprintf("%s is %v on %s and %v on %s", group, state, c.nodes[0].id, other[group], n.id))
			}
		}
	}
	return strings.Join(differences, "; ")
}
