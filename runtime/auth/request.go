package auth

import (
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// KeyRequest asks for an API key.
type KeyRequest struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
	// ExpiresIn is how long the key is good for, such as 90d or 12h; empty means DefaultLifetime, "never" for ever.
	ExpiresIn string `json:"expiresIn,omitempty"`
	// Rate bounds the calls a second through each node; 0 does not.
	Rate int `json:"rate,omitempty"`
}

// DefaultLifetime is how long a key is good for unless its maker says otherwise.
const DefaultLifetime = 365 * 24 * time.Hour

// MaxLifetime bounds what the maker may say, besides "never".
const MaxLifetime = 10 * 365 * 24 * time.Hour

// Key is the key asked for, with the hash of token, as of a time.
func (r *KeyRequest) Key(token *Token, now time.Time, by string) (Key, error) {
	roles, err := ParseRoles(r.Roles)
	if err != nil {
		return Key{}, err
	}
	key := Key{ID: token.ID, Name: r.Name, Roles: roles, Hash: token.Hash(), CreatedAt: now.UnixMilli(), CreatedBy: by, Rate: r.Rate}
	lifetime, err := parseLifetime(r.ExpiresIn)
	if err != nil {
		return Key{}, err
	}
	if lifetime > 0 {
		key.ExpiresAt = now.Add(lifetime).UnixMilli()
	}
	return key, key.Validate()
}

// parseLifetime reads a duration that may be in days; 0 is for ever.
func parseLifetime(text string) (time.Duration, error) {
	wrong := nba.Invalid("/expiresIn", "must be a time such as 90d or 12h, up to 3650d, or never")
	switch text {
	case "":
		return DefaultLifetime, nil
	case "never":
		return 0, nil
	}
	number, unit := text[:len(text)-1], time.Duration(0)
	switch text[len(text)-1] {
	case 'd':
		unit = 24 * time.Hour
	case 'h':
		unit = time.Hour
	case 'm':
		unit = time.Minute
	case 's':
		unit = time.Second
	}
	n := int64(0)
	for _, digit := range number {
		if digit < '0' || digit > '9' || n > int64(MaxLifetime/time.Second) {
			return 0, wrong
		}
		n = n*10 + int64(digit-'0')
	}
	if number == "" || unit == 0 || n == 0 || n > int64(MaxLifetime/unit) {
		return 0, wrong
	}
	return time.Duration(n) * unit, nil
}
