package backup

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// A pack is a file of chunks, each sealed, with an index at its end: for each chunk its id (32), offset (8)
// and length (4), sealed; then the length of the index (8), the SHA-256 of the file before it (32), magic.
const (
	packMagic   = "ARBPACK1"
	packEntry   = sha256.Size + 8 + 4
	packTail    = 8 + sha256.Size + len(packMagic)
	packFull    = 1 << 30 // a pack that has as much is ended
	packSuffix  = ".pack"
	indexPlace  = "index of a pack"
	packMode    = 0o600
	partialName = "partial-*"
)

// place is where a chunk is.
type place struct {
	pack   string
	offset int64
	length uint32
}

// packWriter makes one pack.
type packWriter struct {
	file  *os.File
	to    *bufio.Writer
	at    int64
	index []byte
	count int
}

func newPack(dir string) (*packWriter, error) {
	f, err := os.CreateTemp(dir, partialName)
	if err != nil {
		return nil, fmt.Errorf("making a pack: %w", err)
	}
	w := &packWriter{file: f, to: bufio.NewWriterSize(f, 1<<20), at: int64(len(packMagic))}
	if _, err := w.to.WriteString(packMagic); err != nil {
		return nil, errors.Join(fmt.Errorf("writing a pack: %w", err), w.abort())
	}
	return w, nil
}

func (w *packWriter) add(id ID, sealed []byte) (offset int64, err error) {
	if _, err := w.to.Write(sealed); err != nil {
		return 0, fmt.Errorf("writing a pack: %w", err)
	}
	offset = w.at
	w.index = append(w.index, id[:]...)
	w.index = binary.LittleEndian.AppendUint64(w.index, uint64(offset))
	w.index = binary.LittleEndian.AppendUint32(w.index, uint32(len(sealed)))
	w.at += int64(len(sealed))
	w.count++
	return offset, nil
}

// finish makes the pack durable under its name.
func (w *packWriter) finish(path string, s *sealer) error {
	index, err := s.seal(w.index, []byte(indexPlace))
	if err != nil {
		return errors.Join(err, w.abort())
	}
	tail := binary.LittleEndian.AppendUint64(nil, uint64(len(index)))
	sum := sha256.Sum256(index)
	tail = append(append(tail, sum[:]...), packMagic...)
	_, err = w.to.Write(index)
	if err == nil {
		_, err = w.to.Write(tail)
	}
	if err = errors.Join(err, w.to.Flush(), w.file.Sync()); err != nil {
		return errors.Join(fmt.Errorf("writing a pack: %w", err), w.abort())
	}
	if err := errors.Join(w.file.Close(), os.Rename(w.file.Name(), path)); err != nil {
		return errors.Join(fmt.Errorf("writing a pack: %w", err), os.Remove(w.file.Name()))
	}
	return nil
}

func (w *packWriter) abort() error { return errors.Join(w.file.Close(), os.Remove(w.file.Name())) }

// readPack reads where the chunks of a pack are.
func readPack(path string, s *sealer, found func(ID, place)) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening a pack: %w", err)
	}
	defer f.Close()
	name := filepath.Base(path)
	damaged := func() error { return fmt.Errorf("%w: the end of pack %s is not one", ErrDamaged, name) }
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("opening a pack: %w", err)
	}
	tail := make([]byte, packTail)
	if info.Size() < int64(packTail+len(packMagic)) {
		return damaged()
	}
	if _, err := f.ReadAt(tail, info.Size()-int64(packTail)); err != nil {
		return fmt.Errorf("reading pack %s: %w", name, err)
	}
	size := binary.LittleEndian.Uint64(tail)
	end := info.Size() - int64(packTail)
	if string(tail[8+sha256.Size:]) != packMagic || size > uint64(end) {
		return damaged()
	}
	sealed := make([]byte, size)
	if _, err := f.ReadAt(sealed, end-int64(size)); err != nil {
		return fmt.Errorf("reading pack %s: %w", name, err)
	}
	if sum := sha256.Sum256(sealed); string(sum[:]) != string(tail[8:8+sha256.Size]) {
		return damaged()
	}
	index, err := s.open(sealed, []byte(indexPlace))
	if err != nil || len(index)%packEntry != 0 {
		return errors.Join(damaged(), err)
	}
	for ; len(index) > 0; index = index[packEntry:] {
		var id ID
		copy(id[:], index)
		at := place{pack: path, offset: int64(binary.LittleEndian.Uint64(index[len(id):])), length: binary.LittleEndian.Uint32(index[len(id)+8:])}
		if at.offset < int64(len(packMagic)) || at.offset+int64(at.length) > end-int64(size) {
			return damaged()
		}
		found(id, at)
	}
	return nil
}

// read reads a chunk as it lies in its pack.
func (p place) read(open map[string]*os.File) ([]byte, error) {
	f := open[p.pack]
	if f == nil {
		var err error
		if f, err = os.Open(p.pack); err != nil {
			return nil, fmt.Errorf("opening a pack: %w", err)
		}
		open[p.pack] = f
	}
	sealed := make([]byte, p.length)
	if _, err := f.ReadAt(sealed, p.offset); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: pack %s ends early", ErrDamaged, filepath.Base(p.pack))
		}
		return nil, fmt.Errorf("reading pack %s: %w", filepath.Base(p.pack), err)
	}
	return sealed, nil
}
