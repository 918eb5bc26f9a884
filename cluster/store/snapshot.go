package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"go.etcd.io/bbolt"
)

// The snapshot stream: magic; per key a bucket number plus one, the lengths of key and value as
// uvarints, key, value; a zero byte; the count of keys and the CRC-32C of all before it.
const (
	snapshotMagic    = "ARBSNAP1"
	snapshotBuffer   = 256 << 10
	restoreBatch     = 16 << 20 // bytes of one transaction of a restore
	restoreFill      = 0.95
	maxSnapshotKey   = 1 << 16
	maxSnapshotValue = 1 << 30
)

// ErrSnapshot is returned when a stream is not a whole snapshot.
var ErrSnapshot = errors.New("snapshot is damaged")

// Snapshot is the state as of a checkpoint. Until Release the file cannot use the pages of that
// checkpoint again, nor be replaced or closed.
type Snapshot struct {
	store *Store
	pin   *pin
	size  int64
}

// Snapshot begins a snapshot of the present state, which is then also durable.
func (s *Store) Snapshot() (*Snapshot, error) {
	if err := s.Checkpoint(nil); err != nil {
		return nil, fmt.Errorf("making the state durable for a snapshot: %w", err)
	}
	return s.Durable()
}

// Durable begins a snapshot of the state as of the last checkpoint. It takes no time.
func (s *Store) Durable() (*Snapshot, error) {
	r, err := s.pool.take()
	if err != nil {
		return nil, err
	}
	if r != nil {
		r.end()
	}
	p := s.pins.take()
	if p == nil {
		s.pool.give(&Reader{store: s}, 0)
		return nil, errNotOpen
	}
	return &Snapshot{store: s, pin: p, size: p.base.tx.Size() + runBytes(p.runs)}, nil
}

// Release ends the snapshot. It may be called more than once, by one goroutine.
func (s *Snapshot) Release() {
	if s.pin != nil {
		s.store.pins.release(s.pin)
		s.pin = nil
		s.store.pool.give(&Reader{store: s.store}, 0)
	}
}

// Note is what the checkpoint was given.
func (s *Snapshot) Note() []byte { return s.pin.note }

// Get returns a copy of the value of key, or nil.
func (s *Snapshot) Get(b Bucket, key []byte) []byte {
	sight := s.sight()
	if v := sight.get(b, key); v != nil {
		return append([]byte{}, v...)
	}
	return nil
}

// Scan calls fn for every key of a bucket that is not below from, ascending, until fn returns false. Key and
// value are valid until the snapshot is released. It is safe for concurrent use.
func (s *Snapshot) Scan(b Bucket, from []byte, fn func(key, value []byte) bool) {
	sight := s.sight()
	sight.scanWhile(b, from, func([]byte) bool { return true }, fn)
}

// Grown is an error once the file has grown so far since the snapshot was taken that it should be given up:
// its pages are not used again until then.
func (s *Snapshot) Grown() error {
	size, err := s.store.fileSize()
	if err == nil && size > s.size+max(s.size/2, s.store.options.StreamGrowth) {
		return ErrStreamTooLong
	}
	return err
}

func (s *Snapshot) sight() sight {
	return sight{newest: &layer{}, older: &layer{}, runs: s.pin.runs, seed: s.store.options.Shared.seed, file: s.pin}
}

// WriteTo streams all keys in order. It implements io.WriterTo.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	out := &summer{to: w, sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
	buffered := bufio.NewWriterSize(out, snapshotBuffer)
	head := []byte(snapshotMagic)
	_, err := buffered.Write(head)
	count := uint64(0)
	sight := s.sight()
	for b := Meta; b < bucketEnd && err == nil; b++ {
		sight.scan(b, nil, func(k, v []byte) bool {
			count++
			head = append(head[:0], byte(b)+1)
			head = binary.AppendUvarint(head, uint64(len(k)))
			head = binary.AppendUvarint(head, uint64(len(v)))
			// A bufio.Writer keeps its first error: the last of the three tells.
			_, _ = buffered.Write(head)
			_, _ = buffered.Write(k)
			_, err = buffered.Write(v)
			return err == nil
		})
	}
	head = binary.LittleEndian.AppendUint64(append(head[:0], 0), count)
	_, _ = buffered.Write(head)
	if err = errors.Join(err, buffered.Flush()); err != nil {
		return out.n, fmt.Errorf("writing a snapshot: %w", err)
	}
	_, err = out.Write(binary.LittleEndian.AppendUint32(nil, out.sum.Sum32()))
	return out.n, err
}

type summer struct {
	to  io.Writer
	sum hash.Hash32
	n   int64
}

func (s *summer) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	s.n += int64(n)
	s.sum.Write(p[:n]) // a hash never fails
	return n, err
}

type snapshotReader struct {
	from  *bufio.Reader
	sum   hash.Hash32
	count uint64
	one   [1]byte
}

func (r *snapshotReader) magic() error {
	magic, err := r.bytes(len(snapshotMagic))
	if err == nil && string(magic) != snapshotMagic {
		err = fmt.Errorf("%w: not a snapshot, or of a later release", ErrSnapshot)
	}
	return err
}

// batch puts keys into tx until it is large enough; done is true after the last.
func (r *snapshotReader) batch(tx *bbolt.Tx) (done bool, err error) {
	var buckets [bucketEnd]*bbolt.Bucket
	for size := 0; size < restoreBatch; {
		number, err := r.ReadByte()
		if err != nil {
			return false, damaged(err)
		}
		if number == 0 {
			return true, r.end()
		}
		b := Bucket(number - 1)
		if b >= bucketEnd {
			return false, fmt.Errorf("%w: unknown bucket", ErrSnapshot)
		}
		key, value, err := r.pair()
		if err != nil {
			return false, err
		}
		if buckets[b] == nil {
			buckets[b] = tx.Bucket(bucketNames[b])
			buckets[b].FillPercent = restoreFill
		}
		if err := buckets[b].Put(key, value); err != nil {
			return false, err
		}
		r.count++
		size += len(key) + len(value)
	}
	return false, nil
}

func (r *snapshotReader) pair() (key, value []byte, err error) {
	keyLen, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, nil, damaged(err)
	}
	valueLen, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, nil, damaged(err)
	}
	if keyLen == 0 || keyLen > maxSnapshotKey || valueLen > maxSnapshotValue {
		return nil, nil, fmt.Errorf("%w: impossible length", ErrSnapshot)
	}
	if key, err = r.bytes(int(keyLen)); err != nil {
		return nil, nil, err
	}
	value, err = r.bytes(int(valueLen))
	return key, value, err
}

func (r *snapshotReader) end() error {
	count, err := r.bytes(8)
	if err != nil {
		return err
	}
	want := r.sum.Sum32()
	sum, err := r.bytes(4)
	switch {
	case err != nil:
		return err
	case binary.LittleEndian.Uint64(count) != r.count || binary.LittleEndian.Uint32(sum) != want:
		return fmt.Errorf("%w: checksum or count differs", ErrSnapshot)
	}
	return r.rest()
}

// rest reads the zeros after the end.
func (r *snapshotReader) rest() error {
	for {
		if _, err := r.from.Peek(1); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		b, err := r.from.Peek(r.from.Buffered())
		if err != nil {
			return err
		}
		for _, c := range b {
			if c != 0 {
				return fmt.Errorf("%w: something follows its end", ErrSnapshot)
			}
		}
		if _, err := r.from.Discard(len(b)); err != nil {
			return err
		}
	}
}

// ReadByte implements io.ByteReader.
func (r *snapshotReader) ReadByte() (byte, error) {
	b, err := r.from.ReadByte()
	if err == nil {
		r.one[0] = b
		r.sum.Write(r.one[:]) // a hash never fails
	}
	return b, err
}

// bytes reads n bytes in steps, so that a wrong length costs no more memory than there is input.
func (r *snapshotReader) bytes(n int) ([]byte, error) {
	b := make([]byte, 0, min(n, snapshotBuffer))
	for len(b) < n {
		at := len(b)
		step := min(n-at, snapshotBuffer)
		b = append(b, make([]byte, step)...)
		if _, err := io.ReadFull(r.from, b[at:]); err != nil {
			return nil, damaged(err)
		}
	}
	r.sum.Write(b) // a hash never fails
	return b, nil
}

func damaged(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", ErrSnapshot)
	}
	return err
}
