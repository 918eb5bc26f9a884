package backup

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// KeyBytes is the length of a key that seals backups.
const KeyBytes = 32

// ReadKey reads the key of a file: 64 hexadecimal digits, as openssl rand -hex 32 prints them. An empty
// name is no key. The error never shows what the file holds.
func ReadKey(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the key of the backups: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(key) != KeyBytes {
		return nil, nba.Errorf(nba.CodeInvalid, "the key file %s is not 64 hexadecimal digits: make one with openssl rand -hex 32", file)
	}
	return key, nil
}

// sealer encrypts what a repository holds, with AES-256 in GCM. A nil sealer leaves it as it is.
type sealer struct{ gcm cipher.AEAD }

func newSealer(key []byte) (*sealer, error) {
	if key == nil {
		return nil, nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("using the key of the backups: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("using the key of the backups: %w", err)
	}
	return &sealer{gcm: gcm}, nil
}

// seal encrypts a text for a place, where alone it can be opened again.
func (s *sealer) seal(plain, place []byte) ([]byte, error) {
	if s == nil {
		return plain, nil
	}
	nonce := make([]byte, s.gcm.NonceSize(), s.gcm.NonceSize()+len(plain)+s.gcm.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("drawing a nonce: %w", err)
	}
	return s.gcm.Seal(nonce, nonce, plain, place), nil
}

func (s *sealer) open(sealed, place []byte) ([]byte, error) {
	if s == nil {
		return sealed, nil
	}
	n := s.gcm.NonceSize()
	if len(sealed) < n {
		return nil, fmt.Errorf("%w: something sealed ends early", ErrDamaged)
	}
	plain, err := s.gcm.Open(nil, sealed[:n], sealed[n:], place)
	if err != nil {
		return nil, fmt.Errorf("%w: something sealed was changed, or has another key", ErrDamaged)
	}
	return plain, nil
}
