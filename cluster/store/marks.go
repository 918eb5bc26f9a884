package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// ErrNoCheckpoint is returned by Open for a file that was never made durable, and ErrDamaged for one
// that its checkpoint does not fit. Both mean that the state must be made again.
var (
	ErrNoCheckpoint = errors.New("the state has no checkpoint")
	ErrDamaged      = errors.New("the state is damaged")
)

// mark tells how to find the state as of a checkpoint in the file, whatever was written into the file
// after it: none of the pages that this meta page leads to is used again before the next mark is durable.
type mark struct {
	seq      uint64
	file     string // name of the file
	pageSize int
	meta     [metaBytes]byte // the meta page of bbolt
	note     []byte          // see Store.Checkpoint
	runs     []markRun       // the files of runs over it, the newest first
}

// markRun tells how much of a run file belongs to a checkpoint.
type markRun struct {
	number uint64
	end    int64
}

// The meta page of bbolt: a page header (16 bytes, beginning with the page number) and the meta itself.
const (
	metaBytes   = 80
	metaHighAt  = 16 + 16 + 16 + 8 // the number of pages
	metaTxidAt  = metaHighAt + 8
	metaMagicAt = 16
	metaMagic   = 0xED0CDAED
)

func (m *mark) txid() uint64  { return binary.LittleEndian.Uint64(m.meta[metaTxidAt:]) }
func (m *mark) pages() uint64 { return binary.LittleEndian.Uint64(m.meta[metaHighAt:]) }

// metaPage is the head of meta page 0 or 1 with the meta of the mark.
func (m *mark) metaPage(number int) []byte {
	page := append([]byte(nil), m.meta[:]...)
	binary.LittleEndian.PutUint64(page, uint64(number))
	return page
}

const (
	markMagic = "ARBMARK1"
	markSlot  = 16 << 10
	markHead  = len(markMagic) + 4 + 4 // and the CRC and the length
)

var errMark = errors.New("mark is damaged")

// append encodes m as one slot: magic, CRC-32C of the rest, its length (4 each, little endian); sequence
// number (8), page size (4), meta page (80), file name and note, each after its length (2). If there are
// runs: their number (2), and for each file its number and length (8 each).
func (m *mark) append(dst []byte) ([]byte, error) {
	body := binary.LittleEndian.AppendUint64(nil, m.seq)
	body = binary.LittleEndian.AppendUint32(body, uint32(m.pageSize))
	body = append(body, m.meta[:]...)
	body = binary.LittleEndian.AppendUint16(body, uint16(len(m.file)))
	body = append(body, m.file...)
	body = binary.LittleEndian.AppendUint16(body, uint16(len(m.note)))
	body = append(body, m.note...)
	if len(m.runs) > 0 {
		body = binary.LittleEndian.AppendUint16(body, uint16(len(m.runs)))
	}
	for _, r := range m.runs {
		body = binary.LittleEndian.AppendUint64(body, r.number)
		body = binary.LittleEndian.AppendUint64(body, uint64(r.end))
	}
	if len(m.note) > markSlot || len(body)+markHead > markSlot {
		return nil, fmt.Errorf("the note of a checkpoint has %d bytes: too many", len(m.note))
	}
	dst = append(dst, markMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
	dst = append(dst, body...)
	return append(dst, make([]byte, markSlot-markHead-len(body))...), nil
}

func decodeMark(slot []byte) (*mark, error) {
	if len(slot) < markHead || string(slot[:len(markMagic)]) != markMagic {
		return nil, errMark
	}
	sum := binary.LittleEndian.Uint32(slot[len(markMagic):])
	length := binary.LittleEndian.Uint32(slot[len(markMagic)+4:])
	body := slot[markHead:]
	if uint64(length) > uint64(len(body)) {
		return nil, errMark
	}
	if body = body[:length]; crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != sum || length < 8+4+metaBytes+2+2 {
		return nil, errMark
	}
	m := &mark{seq: binary.LittleEndian.Uint64(body), pageSize: int(binary.LittleEndian.Uint32(body[8:]))}
	body = body[12+copy(m.meta[:], body[12:]):]
	file, body, ok := cutBytes(body)
	note, body, okNote := cutBytes(body)
	runs, okRuns := decodeMarkRuns(body)
	if !ok || !okNote || !okRuns || len(file) == 0 || strings.ContainsAny(string(file), "/\x00") || string(file) == ".." {
		return nil, errMark
	}
	if m.pageSize < 1024 || m.pageSize > 64<<10 || binary.LittleEndian.Uint32(m.meta[metaMagicAt:]) != metaMagic {
		return nil, errMark
	}
	m.file, m.note, m.runs = string(file), append([]byte(nil), note...), runs
	return m, nil
}

// mostMarkRuns bounds the run files of a mark. There are two or three.
const mostMarkRuns = 256

func decodeMarkRuns(body []byte) (runs []markRun, ok bool) {
	if len(body) == 0 {
		return nil, true
	}
	if len(body) < 2 {
		return nil, false
	}
	n := int(binary.LittleEndian.Uint16(body))
	if body = body[2:]; n == 0 || n > mostMarkRuns || len(body) != 16*n {
		return nil, false
	}
	for ; len(body) > 0; body = body[16:] {
		r := markRun{binary.LittleEndian.Uint64(body), int64(binary.LittleEndian.Uint64(body[8:]))}
		if r.end <= 0 || len(runs) > 0 && r.number >= runs[len(runs)-1].number {
			return nil, false
		}
		runs = append(runs, r)
	}
	return runs, true
}

func cutBytes(b []byte) (head, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.LittleEndian.Uint16(b))
	if b = b[2:]; len(b) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// marks is the file of the marks: two slots. A new mark goes into the slot that does not hold the last
// one, and is synced; so a torn write leaves the last. Then a copy goes into the other slot, which need
// not last: it stands in for the first should that rot.
type marks struct {
	disk disk
	file *os.File
	mu   sync.Mutex // guards last; put is called by one goroutine at a time
	last *mark
}

// newest is the last mark that is durable. It is not changed.
func (m *marks) newest() *mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

func marksPath(path string) string { return strings.TrimSuffix(path, filepath.Ext(path)) + ".marks" }

// openMarks reads the newest mark; fs.ErrNotExist if there is no file, errMark if no slot is whole.
func openMarks(path string, d disk) (*marks, error) {
	f, err := d.open(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	m := &marks{disk: d, file: f}
	slots := make([]byte, 2*markSlot)
	n, err := f.ReadAt(slots, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(fmt.Errorf("reading the marks: %w", err), f.Close())
	}
	at := 0
	for slot := 0; (slot+1)*markSlot <= n; slot++ {
		found, err := decodeMark(slots[slot*markSlot : (slot+1)*markSlot])
		if err == nil && (m.last == nil || found.seq > m.last.seq || found.seq == m.last.seq && int(found.seq%2) == slot) {
			m.last, at = found, slot
		}
	}
	if m.last == nil {
		return nil, errors.Join(errMark, f.Close())
	}
	if own := int(m.last.seq % 2); own != at {
		// Only the copy is whole: make it good before its slot is used for the next.
		err := d.writeAt(f, slots[at*markSlot:(at+1)*markSlot], int64(own*markSlot))
		if err = errors.Join(err, d.sync(f)); err != nil {
			return nil, errors.Join(fmt.Errorf("mending the marks: %w", err), f.Close())
		}
	}
	return m, nil
}

// createMarks makes the file of the marks with the first of them, durably.
func createMarks(path string, d disk, first *mark, mode fs.FileMode) (*marks, error) {
	slot, err := first.append(nil)
	if err != nil {
		return nil, err
	}
	if err := d.replace(path, append(slot, slot...), mode); err != nil {
		return nil, err
	}
	return openMarks(path, d)
}

// put makes the mark durable as the newest.
func (m *marks) put(next *mark) error {
	next.seq = m.newest().seq + 1
	slot, err := next.append(nil)
	if err != nil {
		return err
	}
	at := int64(next.seq%2) * markSlot
	if err := m.disk.writeAt(m.file, slot, at); err != nil {
		return fmt.Errorf("writing a mark: %w", err)
	}
	if err := m.disk.sync(m.file); err != nil {
		return fmt.Errorf("syncing a mark: %w", err)
	}
	m.mu.Lock()
	m.last = next
	m.mu.Unlock()
	_ = m.disk.writeAt(m.file, slot, markSlot-at) // a copy: the first is what counts
	return nil
}

func (m *marks) close() error { return m.file.Close() }
