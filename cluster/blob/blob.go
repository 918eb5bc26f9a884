// Package blob keeps module bytes by their digest in a folder. A blob that Put acknowledged is
// durable; Get verifies what it read against the digest.
package blob

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const digestPrefix = "sha256:"

// MaxBytes bounds one blob.
const MaxBytes = 64 << 20

var (
	// ErrUnknown is returned when there is no blob of a digest.
	ErrUnknown = errors.New("no blob has this digest")
	// ErrCorrupt is returned when the bytes on disk do not have their digest any more.
	ErrCorrupt = errors.New("blob is corrupt")
)

// Store is a folder of blobs. It is safe for concurrent use.
type Store struct {
	dir string
}

// Open opens the folder and creates it if it does not exist. Writes that were cut short are cleared.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the blob folder: %w", err)
	}
	unfinished, err := filepath.Glob(filepath.Join(dir, "new-*"))
	if err != nil {
		return nil, fmt.Errorf("reading the blob folder: %w", err)
	}
	for _, path := range unfinished {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("clearing an unfinished blob: %w", err)
		}
	}
	return &Store{dir: dir}, nil
}

// Digest is "sha256:" and the 64 hex digits of the SHA-256 of content.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return digestPrefix + hex.EncodeToString(sum[:])
}

func (s *Store) path(digest string) (string, error) {
	digits, ok := strings.CutPrefix(digest, digestPrefix)
	if raw, err := hex.DecodeString(digits); !ok || err != nil || len(raw) != sha256.Size || digits != strings.ToLower(digits) {
		return "", fmt.Errorf("%w: it is not sha256: and 64 lower-case hex digits", ErrUnknown)
	}
	return filepath.Join(s.dir, digits), nil
}

// Put stores content under its digest, durably. Storing it again changes nothing, unless the copy on
// disk is corrupt: then it is replaced. A digest that is not that of content is an error.
func (s *Store) Put(digest string, content []byte) error {
	if len(content) > MaxBytes {
		return fmt.Errorf("blob of %d bytes: at most %d", len(content), MaxBytes)
	}
	path, err := s.path(digest)
	if err != nil {
		return err
	}
	if Digest(content) != digest {
		return fmt.Errorf("storing blob %s: the bytes have another digest", digest)
	}
	if _, err := s.Get(digest); err == nil {
		return nil
	}
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return fmt.Errorf("storing blob %s: %w", digest, err)
	}
	_, writeErr := f.Write(content)
	if err := errors.Join(writeErr, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("storing blob %s: %w", digest, err), os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(fmt.Errorf("storing blob %s: %w", digest, err), os.Remove(f.Name()))
	}
	if err := s.sync(); err != nil {
		return fmt.Errorf("storing blob %s: %w", digest, err)
	}
	return nil
}

func (s *Store) sync() error {
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Get returns the content of a digest. It gives ErrUnknown if there is none and ErrCorrupt if the
// disk changed it.
func (s *Store) Get(digest string) ([]byte, error) {
	path, err := s.path(digest)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, digest)
	}
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", digest, err)
	}
	if Digest(content) != digest {
		return nil, fmt.Errorf("%w: %s", ErrCorrupt, digest)
	}
	return content, nil
}

// Has tells whether there is a blob of the digest. It does not read it.
func (s *Store) Has(digest string) bool {
	path, err := s.path(digest)
	if err != nil {
		return false
	}
	_, err = os.Stat(path)
	return err == nil
}

// Delete removes a blob; one that is not there is none the less gone.
func (s *Store) Delete(digest string) error {
	path, err := s.path(digest)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting blob %s: %w", digest, err)
	}
	return s.sync()
}

// Older lists the digests of the blobs that were put before a moment.
func (s *Store) Older(than time.Time) (digests []string, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("listing blobs: %w", err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.ModTime().Before(than) {
			continue // gone meanwhile, or new
		}
		digest := digestPrefix + entry.Name()
		if path, err := s.path(digest); err == nil && filepath.Base(path) == entry.Name() {
			digests = append(digests, digest)
		}
	}
	return digests, nil
}
