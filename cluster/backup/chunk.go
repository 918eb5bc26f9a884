package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
)

// ID names a chunk: the SHA-256 of its content.
type ID [sha256.Size]byte

// String is the id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IDOf is the id of a content.
func IDOf(content []byte) ID { return sha256.Sum256(content) }

// Limits of a chunk. A cut is made after a key whose hash says so once the chunk has leastChunk bytes, and
// in any case when it has fullChunk. These numbers are part of no format, but a change makes the next backup
// a whole one.
const (
	leastChunk = 32 << 10
	fullChunk  = 512 << 10
	cutMask    = 1<<6 - 1
	// MaxChunk bounds a chunk: one full of the largest value.
	MaxChunk = 80 << 20
)

// ErrDamaged is wrapped by every error about a backup that is not what was written.
var ErrDamaged = errors.New("the backup is damaged")

// Cutter gathers pairs into chunks. It is used by one goroutine.
type Cutter struct {
	chunk []byte
	// Done is given each chunk that is full; it may keep it.
	Done func(chunk []byte) error
}

// Add adds a pair. Within a group they come by bucket, then by key.
func (c *Cutter) Add(bucket uint8, key, value []byte) error {
	if c.chunk == nil {
		c.chunk = make([]byte, 0, leastChunk*2)
	}
	c.chunk = command.AppendPair(c.chunk, bucket, key, value)
	if len(c.chunk) >= fullChunk || len(c.chunk) >= leastChunk && xxhash.Sum64(key)&cutMask == 0 {
		return c.Flush()
	}
	return nil
}

// Flush ends the chunk that is being filled.
func (c *Cutter) Flush() error {
	if len(c.chunk) == 0 {
		return nil
	}
	chunk := c.chunk
	c.chunk = nil
	return c.Done(chunk)
}

// Pairs calls fn for each pair of a chunk.
func Pairs(chunk []byte, fn func(bucket uint8, key, value []byte) error) error {
	for len(chunk) > 0 {
		bucket, key, value, rest, ok := command.NextPair(chunk)
		if !ok {
			return fmt.Errorf("%w: a chunk is not made of pairs", ErrDamaged)
		}
		if err := fn(bucket, key, value); err != nil {
			return err
		}
		chunk = rest
	}
	return nil
}
