package command

import (
	"github.com/arbiterhq/arbiter/plugins/rollout"
)

// StartRollout begins to roll a staged or retired plugin version out. Its id is the name of the plugin and
// the index of the entry.
type StartRollout struct {
	Plugin  string       `json:"plugin"`
	Version string       `json:"version"`
	Spec    rollout.Spec `json:"spec"`
}

// AcknowledgeRollout tells whether a node has the version of a rollout ready.
type AcknowledgeRollout struct {
	Rollout string            `json:"rollout"`
	Ready   rollout.NodeReady `json:"ready"`
}

// ChangeRollout promotes, pauses, resumes, aborts, undoes or takes back a rollout.
type ChangeRollout struct {
	Rollout string       `json:"rollout"`
	Verb    rollout.Verb `json:"verb"`
	// Request names the change, so that it can be repeated.
	Request string `json:"request"`
	// IfRevision, unless 0, is the revision that it was decided on.
	IfRevision uint64          `json:"ifRevision,omitempty"`
	Force      bool            `json:"force,omitempty"`
	Auto       bool            `json:"auto,omitempty"`
	Checks     []rollout.Check `json:"checks,omitempty"`
}

// CountRollout is what a node counted.
type CountRollout struct {
	Report rollout.Report `json:"report"`
}

// Append appends the operation to dst.
func (o *StartRollout) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, RolloutStarted, o)
}

// Append appends the operation to dst.
func (o *AcknowledgeRollout) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, RolloutAcknowledged, o)
}

// Append appends the operation to dst.
func (o *ChangeRollout) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, RolloutChanged, o)
}

// Append appends the operation to dst.
func (o *CountRollout) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, RolloutCounted, o)
}
