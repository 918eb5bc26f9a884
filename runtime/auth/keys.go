package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Bounds of keys.
const (
	MaxKeys      = 1000
	MaxNameBytes = 100
	MaxRate      = 1_000_000
)

// Key is an API key as it is kept. The secret itself is not.
type Key struct {
	ID    string            `json:"id"`
	Name  string            `json:"name"`
	Roles []Role            `json:"roles"`
	Hash  [sha256.Size]byte `json:"hash"`
	// CreatedAt and ExpiresAt are Unix milliseconds; an ExpiresAt of 0 is never.
	CreatedAt int64  `json:"createdAt"`
	ExpiresAt int64  `json:"expiresAt,omitempty"`
	CreatedBy string `json:"createdBy,omitempty"`
	// Rate bounds the calls a second through each node; 0 does not.
	Rate int `json:"rate,omitempty"`
}

// Expired tells whether the key is over at a time in Unix milliseconds.
func (k *Key) Expired(now int64) bool { return k.ExpiresAt != 0 && now >= k.ExpiresAt }

// Validate reports what is wrong with a key that is to be kept.
func (k *Key) Validate() error {
	var details []nba.Detail
	wrong := func(field, message string) {
		details = append(details, nba.Detail{Pointer: "/" + field, Code: nba.CodeInvalid, Detail: message})
	}
	if k.Name == "" || len(k.Name) > MaxNameBytes || strings.ContainsFunc(k.Name, func(r rune) bool { return r < ' ' }) {
		wrong("name", "must be 1 to 100 bytes without control characters: say who uses the key")
	}
	names := make([]string, len(k.Roles))
	for i, r := range k.Roles {
		names[i] = string(r)
	}
	if _, err := ParseRoles(names); err != nil {
		wrong("roles", "must be one or more of "+listRoles())
	}
	if k.Rate < 0 || k.Rate > MaxRate {
		wrong("rate", "must be 0 (no limit) to 1000000 calls a second")
	}
	if k.ExpiresAt != 0 && k.ExpiresAt <= k.CreatedAt {
		wrong("expiresAt", "must be later than now")
	}
	if details == nil {
		return nil
	}
	err := nba.Errorf(nba.CodeInvalid, "the key cannot be made")
	err.Details = details
	return err
}

// Keys are all keys. It is immutable: changes make a new one.
type Keys struct {
	Keys []Key `json:"keys,omitempty"` // sorted by id
	// Founded is set once the first key was made, and never again unset.
	Founded bool `json:"founded,omitempty"`
}

func (k *Keys) find(id string) (int, bool) {
	return slices.BinarySearchFunc(k.Keys, id, func(key Key, id string) int { return strings.Compare(key.ID, id) })
}

// Get is the key of an id.
func (k *Keys) Get(id string) (Key, bool) {
	i, ok := k.find(id)
	if !ok {
		return Key{}, false
	}
	return k.Keys[i], true
}

// Add is Keys with one more. founding demands that there never was one before.
func (k *Keys) Add(key Key, founding bool) (*Keys, error) {
	if founding && k.Founded {
		return nil, nba.Errorf(nba.CodeConflict, "the first key was made before: ask one of the admins for another")
	}
	if err := key.Validate(); err != nil {
		return nil, err
	}
	i, there := k.find(key.ID)
	if there {
		return nil, nba.Errorf(nba.CodeConflict, "there is a key of this id already")
	}
	if len(k.Keys) >= MaxKeys {
		return nil, nba.Errorf(nba.CodeConflict, "there are %d keys, the most there may be: revoke those that nobody uses", MaxKeys)
	}
	return &Keys{Keys: slices.Insert(slices.Clone(k.Keys), i, key), Founded: true}, nil
}

// Remove is Keys without one. The last admin's key stays: without it nobody could make another.
func (k *Keys) Remove(id string, now int64) (*Keys, error) {
	i, there := k.find(id)
	if !there {
		return nil, nba.Errorf(nba.CodeNotFound, "there is no key of this id")
	}
	rest := slices.Delete(slices.Clone(k.Keys), i, i+1)
	if admin := func(key Key) bool { return slices.Contains(key.Roles, Admin) && !key.Expired(now) }; admin(k.Keys[i]) && !slices.ContainsFunc(rest, admin) {
		return nil, nba.Errorf(nba.CodeConflict, "this is the last admin's key: make another before you revoke it")
	}
	return &Keys{Keys: rest, Founded: true}, nil
}

// Authenticate is the principal of a token at a time in Unix milliseconds; ok is false for a token that
// is unknown, revoked, over or wrong, without telling which.
func (k *Keys) Authenticate(t *Token, now int64) (key Key, ok bool) {
	key, found := k.Get(t.ID)
	hash := t.Hash()
	if subtle.ConstantTimeCompare(hash[:], key.Hash[:]) != 1 || !found || key.Expired(now) {
		return Key{}, false
	}
	return key, true
}

// Principal is on whose behalf calls with the key are made.
func (k *Key) Principal() *Principal {
	return &Principal{Kind: KindKey, ID: k.ID, Name: k.Name, Roles: k.Roles}
}

// View is a key as it is shown: without what is kept of its secret.
type View struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Roles     []Role     `json:"roles"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	CreatedBy string     `json:"createdBy,omitempty"`
	Rate      int        `json:"rate,omitempty"`
	// Token is shown once, to the one who made the key.
	Token string `json:"token,omitempty"`
}

// View is the key as it is shown.
func (k *Key) View() View {
	v := View{ID: k.ID, Name: k.Name, Roles: k.Roles, CreatedAt: time.UnixMilli(k.CreatedAt).UTC(), CreatedBy: k.CreatedBy, Rate: k.Rate}
	if k.ExpiresAt != 0 {
		at := time.UnixMilli(k.ExpiresAt).UTC()
		v.ExpiresAt = &at
	}
	return v
}
