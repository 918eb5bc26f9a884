package registry

import (
	"crypto/ed25519"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// MaxKeys bounds the trusted keys.
const MaxKeys = 64

// Keys are those whose signatures of artifacts are trusted. Like a State it is immutable and replicated.
type Keys struct {
	// Keys are sorted by id.
	Keys []nba.PluginKey `json:"keys"`
}

// Trust adds a key, whose id is made of it. One that is there already stays as it is.
func (k *Keys) Trust(key nba.PluginKey, at time.Time) (next *Keys, record nba.PluginKey, changed bool, err error) {
	if len(key.PublicKey) != ed25519.PublicKeySize || !artifact.ValidName(key.Name) {
		return k, record, false, nba.Errorf(nba.CodeInvalid, "a key has a name, of lower-case letters, digits and hyphens, and an ed25519 public key of 32 bytes")
	}
	key.ID, key.AddedAt = artifact.KeyID(key.PublicKey), at.UTC()
	i, found := k.find(key.ID)
	switch {
	case found:
		return k, k.Keys[i], false, nil
	case slices.ContainsFunc(k.Keys, func(known nba.PluginKey) bool { return known.Name == key.Name }):
		return k, record, false, nba.Errorf(nba.CodeConflict, "another key has this name; choose another name, or remove that key first")
	case len(k.Keys) == MaxKeys:
		return k, record, false, nba.Errorf(nba.CodeTooLarge, "there are already %d trusted keys; remove one first", MaxKeys)
	}
	return &Keys{Keys: slices.Insert(slices.Clone(k.Keys), i, key)}, key, true, nil
}

// Distrust removes a key by its id or its name. Versions that are active stay so; nothing that the key
// signed can be pushed or activated any more.
func (k *Keys) Distrust(id string) (next *Keys, err error) {
	for i := range k.Keys {
		if k.Keys[i].ID == id || k.Keys[i].Name == id {
			return &Keys{Keys: slices.Delete(slices.Clone(k.Keys), i, i+1)}, nil
		}
	}
	return k, nba.Errorf(nba.CodeNotFound, "no trusted key has this id or name; arbiter plugin keys list shows them")
}

func (k *Keys) find(id string) (int, bool) {
	return slices.BinarySearchFunc(k.Keys, id, func(key nba.PluginKey, id string) int { return strings.Compare(key.ID, id) })
}
