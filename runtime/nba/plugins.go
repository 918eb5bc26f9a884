package nba

import "time"

// PluginHealth is how a version does on the node that was asked.
type PluginHealth struct {
	// State is BreakerClosed, or BreakerOpen while the version is taken out since it keeps failing.
	State string `json:"state"`
	// Reason classifies the last failure: fuel, trap, memory, stack, status, layout, answer or range.
	Reason string `json:"reason,omitempty"`
	// NextTrial is when it is tried again.
	NextTrial *time.Time `json:"nextTrial,omitempty"`
	// StandIn is the version that answers meanwhile; empty: actions have their starting propensity, and
	// rankings stay as they are.
	StandIn string `json:"standIn,omitempty"`
}

// The states of PluginHealth.
const (
	BreakerClosed = "closed"
	BreakerOpen   = "open"
)

// PluginLogLine is a line that a plugin wrote to its log.
type PluginLogLine struct {
	Time    time.Time `json:"time"`
	Node    string    `json:"node,omitempty"`
	Version string    `json:"version"`
	// Level is debug, info, warn or error.
	Level string `json:"level"`
	// Text is redacted: it holds nothing that the host handed over about the subject.
	Text string `json:"text"`
}

// PluginKey is a key whose signatures of artifacts are trusted.
type PluginKey struct {
	// ID is made of the key: 16 hex digits.
	ID   string `json:"id"`
	Name string `json:"name"`
	// PublicKey is the ed25519 key, 32 bytes in base64.
	PublicKey []byte    `json:"publicKey"`
	AddedAt   time.Time `json:"addedAt"`
}
