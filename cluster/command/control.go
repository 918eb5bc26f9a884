package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The operations of the control group are rare and small: their bodies are JSON.

// DeclareAttributes grows the dictionary.
type DeclareAttributes struct {
	Attributes []nba.AttributeDeclaration `json:"attributes"`
}

// StoreCatalog stores a catalog document, staged. The caller has validated it.
type StoreCatalog struct {
	Name     string `json:"name"`
	Digest   string `json:"digest"`
	Document []byte `json:"document"`
	// IfHead, when not nil, must be the version of the newest stored document; 0: there must be none.
	IfHead *uint64 `json:"ifHead,omitempty"`
}

// ActivateCatalog makes a stored document the active one.
type ActivateCatalog struct {
	Version uint64 `json:"version"`
	// Note is what the log of activations says about it, at most nba.MaxNoteBytes.
	Note string `json:"note,omitempty"`
	// Dated is not replicated: it makes an operation of version 2, for which the time and the note of
	// the activation are kept.
	Dated bool `json:"-"`
}

// StagePlugin stores the description of an admitted plugin version; its module lies in the blobs.
type StagePlugin struct {
	Plugin nba.PluginVersion `json:"plugin"`
}

// ActivatePlugin makes a staged version the active one of its plugin.
type ActivatePlugin struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// AnnounceNode tells what the release of a node can apply.
type AnnounceNode struct {
	Node  string `json:"node"`
	Level Level  `json:"level"`
	// Release is for people.
	Release string `json:"release,omitempty"`
	// Members are the nodes of the cluster as the node knows them, with itself.
	Members []string `json:"members"`
}

// SetRetention tells how long interactions and idempotency keys are kept.
type SetRetention struct {
	Retention nba.Retention `json:"retention"`
}

// Append appends the operation to dst.
func (o *AnnounceNode) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, NodeAnnounced, o)
}

// Append appends the operation to dst.
func (o *SetRetention) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, RetentionSet, o)
}

// Append appends the operation to dst.
func (o *DeclareAttributes) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, AttributesDeclared, o)
}

// Append appends the operation to dst.
func (o *StoreCatalog) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, CatalogStored, o)
}

// Append appends the operation to dst.
func (o *ActivateCatalog) Append(dst []byte) ([]byte, error) {
	at := len(dst)
	dst, err := appendControl(dst, CatalogActivated, o)
	if err == nil && o.Dated {
		dst[at+1] = extendedVersion
	}
	return dst, err
}

// Append appends the operation to dst.
func (o *StagePlugin) Append(dst []byte) ([]byte, error) { return appendControl(dst, PluginStaged, o) }

// Append appends the operation to dst.
func (o *ActivatePlugin) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, PluginActivated, o)
}

func appendControl(dst []byte, kind Kind, body any) ([]byte, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return dst, fmt.Errorf("encoding control command %d: %w", kind, err)
	}
	dst, at := beginOp(dst, kind)
	return endOp(append(dst, encoded...), at), nil
}

// DecodeControl reads the body of a control operation into one of the structs above. Unknown fields
// are an error: a replica must not apply half of what it was told.
func DecodeControl(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%w: control body: %w", ErrMalformed, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("%w: bytes after the control body", ErrMalformed)
	}
	return nil
}
