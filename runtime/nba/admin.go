package nba

import (
	"encoding/json"
	"time"
)

// SubjectPatch is a JSON merge patch (RFC 7396) of a subject: a nil attribute value or consent
// removes it, absent ones stay.
type SubjectPatch struct {
	SubjectRef
	Attributes map[string]any   `json:"attributes,omitempty"`
	Consents   map[string]*bool `json:"consents,omitempty"`
	// ChannelConsents are the answers to channels, by name.
	ChannelConsents map[string]*bool `json:"channelConsents,omitempty"`
}

// State is where a catalog version or a plugin version is in its life.
type State string

// The states. At most one catalog version, and one version of each plugin, is active.
const (
	StateStaged  State = "staged"
	StateActive  State = "active"
	StateRetired State = "retired"
)

// CatalogVersion describes one stored catalog document.
type CatalogVersion struct {
	// Version is the index of the log entry that stored the document.
	Version uint64 `json:"version"`
	// CatalogVersion is the index of the log entry that activated it last; 0 if none did.
	CatalogVersion uint64     `json:"catalogVersion,omitempty"`
	Name           string     `json:"name"`
	Digest         string     `json:"digest"`
	State          State      `json:"state"`
	StoredAt       time.Time  `json:"storedAt"`
	ActivatedAt    *time.Time `json:"activatedAt,omitempty"`
}

// CatalogActivation is one activation of a catalog document: what the catalogVersion of a decision names.
type CatalogActivation struct {
	CatalogVersion uint64 `json:"catalogVersion"`
	// Version is the document that was activated.
	Version uint64 `json:"version"`
	Name    string `json:"name"`
	Digest  string `json:"digest"`
	// ActivatedAt is missing for activations of releases that did not keep it.
	ActivatedAt *time.Time `json:"activatedAt,omitempty"`
	Note        string     `json:"note,omitempty"`
	// Active tells the one that is in force.
	Active bool `json:"active"`
}

// MaxNoteBytes bounds the note of an activation.
const MaxNoteBytes = 256

// CatalogDocument is a stored catalog with its text, YAML as it was put.
type CatalogDocument struct {
	CatalogVersion
	Document []byte `json:"-"`
}

// PluginVersion describes one pushed plugin version. Digest is that of the artifact as pushed.
type PluginVersion struct {
	Name        string     `json:"name"`
	Version     string     `json:"version"`
	Kind        string     `json:"kind"`
	Digest      string     `json:"digest"`
	State       State      `json:"state"`
	SizeBytes   int        `json:"sizeBytes"`
	Features    int        `json:"features"`
	PushedAt    time.Time  `json:"pushedAt"`
	ActivatedAt *time.Time `json:"activatedAt,omitempty"`
	// SignedBy is the id of the trusted key that had signed the artifact when it was pushed.
	SignedBy string `json:"signedBy,omitempty"`
	// Health is how an active version does on the node that was asked; it is not stored.
	Health   *PluginHealth   `json:"health,omitempty"`
	Manifest json.RawMessage `json:"manifest,omitempty"`
}
