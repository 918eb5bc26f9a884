package command

import "github.com/arbiterhq/arbiter/runtime/nba"

// TrustKey adds a key whose signatures of artifacts are trusted.
type TrustKey struct {
	Key nba.PluginKey `json:"key"`
}

// DistrustKey removes a trusted key by its id or name.
type DistrustKey struct {
	Key string `json:"key"`
}

// RemovePlugin forgets a version of a plugin, or all of them when it names none.
type RemovePlugin struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

// DeactivatePlugin retires the active version of a plugin.
type DeactivatePlugin struct {
	Name string `json:"name"`
}

// Append appends the operation to dst.
func (o *TrustKey) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, SignerTrusted, o)
}

// Append appends the operation to dst.
func (o *DistrustKey) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, SignerDistrusted, o)
}

// Append appends the operation to dst.
func (o *RemovePlugin) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, PluginRemoved, o)
}

// Append appends the operation to dst.
func (o *DeactivatePlugin) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, PluginDeactivated, o)
}
