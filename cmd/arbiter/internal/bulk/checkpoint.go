package bulk

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
)

// checkpointFormat is the version of the checkpoint file.
const checkpointFormat = 1

// headBytes is how much of the input's beginning its identity covers.
const headBytes = 64 << 10

// Counts are what became of the records so far. Read = Accepted + Rejected.
type Counts struct {
	Read     int64 `json:"read"`
	Accepted int64 `json:"accepted"`
	Rejected int64 `json:"rejected"`
	// Blank counts values, not records, that were blank and handled by rule.
	Blank int64 `json:"blank"`
	// Duplicates counts accepted records that replaced an earlier one of the same chunk.
	Duplicates int64 `json:"duplicates"`
}

// add counts one acknowledged chunk.
func (c *Counts) add(s client.ImportSummary) {
	c.Read += int64(s.Read)
	c.Accepted += int64(s.Accepted)
	c.Rejected += int64(s.Rejected)
	c.Blank += int64(s.Blank)
	c.Duplicates += int64(s.Duplicates)
}

// Identity tells one import from another: an unfinished import goes on only where all of it is equal.
type Identity struct {
	// Server is the address the subjects go to.
	Server string `json:"server"`
	// Size, ModTime and HeadDigest are those of the input file.
	Size       int64     `json:"size"`
	ModTime    time.Time `json:"modTime"`
	HeadDigest string    `json:"headDigest"`
	// MappingDigest is that of the mapping document; empty without one.
	MappingDigest string `json:"mappingDigest,omitempty"`
	Format        Format `json:"format"`
}

// equal compares times as instants.
func (i Identity) equal(o Identity) bool {
	sameTime := i.ModTime.Equal(o.ModTime)
	i.ModTime, o.ModTime = time.Time{}, time.Time{}
	return sameTime && i == o
}

// Identify reads the identity of an import of the open file in; its offset is left at the start.
func Identify(in *os.File, server string, format Format, mapping []byte) (Identity, error) {
	info, err := in.Stat()
	if err != nil {
		return Identity{}, fmt.Errorf("reading the file's size: %w", err)
	}
	head, err := io.ReadAll(io.NewSectionReader(in, 0, headBytes))
	if err != nil {
		return Identity{}, fmt.Errorf("reading the beginning of the file: %w", err)
	}
	id := Identity{Server: server, Size: info.Size(), ModTime: info.ModTime().UTC(), HeadDigest: digest(head), Format: format}
	if len(mapping) > 0 {
		id.MappingDigest = digest(mapping)
	}
	return id, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Checkpoint is how far an import came: everything before Offset is acknowledged.
type Checkpoint struct {
	CheckpointFormat int `json:"checkpointFormat"`
	Identity
	// Offset is in bytes; Line is the line there, from 1.
	Offset int64  `json:"offset"`
	Line   int    `json:"line"`
	Counts Counts `json:"counts"`
	// ErrorBytes is how long the file of rejected lines was.
	ErrorBytes int64 `json:"errorBytes,omitempty"`
}

// CheckpointPath is where the checkpoint of the import of file lies: beside it.
func CheckpointPath(file string) string { return file + ".arbiter-import.json" }

// ErrCheckpointForeign is returned when the checkpoint belongs to another server, file content or
// mapping, or cannot be read.
var ErrCheckpointForeign = errors.New("the checkpoint belongs to another import: the file, its mapping or the server changed")

// LoadCheckpoint reads the checkpoint at path if it belongs to the import id; nil when there is none.
func LoadCheckpoint(path string, id Identity) (*Checkpoint, error) {
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint: %w", err)
	}
	c := &Checkpoint{}
	if json.Unmarshal(body, c) != nil || c.CheckpointFormat != checkpointFormat || !c.Identity.equal(id) ||
		c.Offset < 0 || c.Offset > id.Size || c.Line < 1 || c.ErrorBytes < 0 {
		return nil, ErrCheckpointForeign
	}
	return c, nil
}

// save replaces the checkpoint at path. It is renamed into place but not synced: after a power cut an
// older checkpoint, or none, only means that some lines are sent again.
func (c *Checkpoint) save(path string) error {
	c.CheckpointFormat = checkpointFormat
	body, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the checkpoint: %w", err)
	}
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, append(body, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the checkpoint: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("writing the checkpoint: %w", err)
	}
	return nil
}

// RemoveCheckpoint removes the checkpoint at path, if there is one.
func RemoveCheckpoint(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the checkpoint: %w", err)
	}
	return nil
}
