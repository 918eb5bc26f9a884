package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

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

// Snapshot is the state as of one commit. It holds a read transaction: until Release the file grows
// instead of reusing pages.
type Snapshot struct {
	tx    *bbolt.Tx
	store *Store
}

// Snapshot begins a snapshot of the present state, which is then also in the file: a log may be
// truncated up to a snapshot only if the file does not need what is cut off. Update must not run.
func (s *Store) Snapshot() (*Snapshot, error) {
	if err := s.Flush(); err != nil {
		return nil, fmt.Errorf("flushing before a snapshot: %w", err)
	}
	r, err := s.pool.take()
	if err != nil {
		return nil, err
	}
	if r != nil {
		r.end()
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		s.pool.give(&Reader{store: s}, 0)
		return nil, fmt.Errorf("beginning a snapshot: %w", err)
	}
	return &Snapshot{tx: tx, store: s}, nil
}

// Release ends the snapshot. It may be called more than once, by one goroutine.
func (s *Snapshot) Release() {
	if s.tx != nil {
		_ = s.tx.Rollback() // it fails only for a transaction that is closed already
		s.tx = nil
		s.store.pool.give(&Reader{store: s.store}, 0)
	}
}

// WriteTo streams all keys in order. It implements io.WriterTo.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	out := &summer{to: w, sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
	buffered := bufio.NewWriterSize(out, snapshotBuffer)
	head := []byte(snapshotMagic)
	_, err := buffered.Write(head)
	count := uint64(0)
	for b := Meta; b < bucketEnd && err == nil; b++ {
		c := s.tx.Bucket(bucketNames[b]).Cursor()
		for k, v := c.First(); k != nil && err == nil; k, v = c.Next() {
			count++
			head = append(head[:0], byte(b)+1)
			head = binary.AppendUvarint(head, uint64(len(k)))
			head = binary.AppendUvarint(head, uint64(len(v)))
			// A bufio.Writer keeps its first error: the last of the three tells.
			_, _ = buffered.Write(head)
			_, _ = buffered.Write(k)
			_, err = buffered.Write(v)
		}
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

// Restore replaces the whole state by that of a snapshot stream. The new file is complete and
// durable before it takes the place of the old one, so a Restore that fails or is cut short changes
// nothing. It waits for all readers; Update must not run.
func (s *Store) Restore(from io.Reader) error {
	path := s.restoringPath()
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("clearing an unfinished restore: %w", err)
	}
	if err := buildFile(path, s.options, from); err != nil {
		return errors.Join(err, os.RemoveAll(path))
	}
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.pool.pause()
	defer s.replaced()
	if s.db == nil {
		return ErrClosed
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing the replaced store: %w", err)
	}
	if err := os.Rename(path, s.path); err != nil {
		return errors.Join(fmt.Errorf("replacing the store: %w", err), s.open())
	}
	if err := SyncFolder(filepath.Dir(s.path)); err != nil {
		return errors.Join(err, s.open())
	}
	return s.open()
}

// replaced forgets what was pending over the old file and lets readers in again.
func (s *Store) replaced() {
	s.write.Lock()
	defer s.write.Unlock()
	s.writing = layer{}
	s.pending.Store(&pending{seq: s.pool.resume()})
	s.room.Broadcast()
}

func buildFile(path string, options Options, from io.Reader) error {
	options.Sync = false // synced once, at the end
	db, err := openFile(path, options, int64(options.InitialMmapBytes))
	if err != nil {
		return err
	}
	in := &snapshotReader{from: bufio.NewReaderSize(from, snapshotBuffer), sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
	err = in.magic()
	for done := false; err == nil && !done; {
		err = db.Update(func(tx *bbolt.Tx) (err error) {
			done, err = in.batch(tx)
			return err
		})
	}
	if err == nil {
		err = db.Sync()
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("restoring a snapshot: %w", err)
	}
	return nil
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
	return nil
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
