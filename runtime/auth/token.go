package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// A token is arb_<id>_<secret>_<check>: the id finds the key, the secret proves it, the check tells a
// mistyped token from a wrong one and lets scanners find leaked ones. All parts are lower-case base32
// (RFC 4648) without padding; the check is the CRC-32 (IEEE) of what stands before it.
const (
	tokenPrefix = "arb"
	idBytes     = 10
	secretBytes = 32
)

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Token is an API key as its holder has it.
type Token struct {
	ID     string
	secret []byte
}

// NewToken draws a token.
func NewToken(random io.Reader) (*Token, error) {
	raw := make([]byte, idBytes+secretBytes)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, fmt.Errorf("drawing a key: %w", err)
	}
	return &Token{ID: encoding.EncodeToString(raw[:idBytes]), secret: raw[idBytes:]}, nil
}

// Text is the token as it is handed out and sent. It is a secret.
func (t *Token) Text() string {
	body := tokenPrefix + "_" + t.ID + "_" + encoding.EncodeToString(t.secret)
	return body + "_" + check(body)
}

// String keeps the secret out of logs and errors.
func (t *Token) String() string { return "arb_" + t.ID + "_…" }

func check(body string) string {
	return encoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body))))
}

// IsToken tells whether text looks like an API key, and not like a token of somebody else.
func IsToken(text string) bool { return strings.HasPrefix(text, tokenPrefix+"_") }

// ParseToken reads a token; ok is false if it is none or mistyped.
func ParseToken(text string) (t *Token, ok bool) {
	parts := strings.Split(text, "_")
	if len(parts) != 4 || parts[0] != tokenPrefix {
		return nil, false
	}
	secret, err := encoding.DecodeString(parts[2])
	if err != nil || len(secret) != secretBytes || len(parts[1]) != encoding.EncodedLen(idBytes) {
		return nil, false
	}
	body := text[:len(text)-len(parts[3])-1]
	if subtle.ConstantTimeCompare([]byte(check(body)), []byte(parts[3])) != 1 {
		return nil, false
	}
	return &Token{ID: parts[1], secret: secret}, true
}

// Hash is what is kept of the secret. It has 256 random bits, so one round of SHA-256 is enough.
func (t *Token) Hash() [sha256.Size]byte { return sha256.Sum256(t.secret) }
