package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A run is what one flush wrote: keys in their order, then values. docs/format/data-folder.md has the
// layout. Offsets and lengths are in bytes, numbers little endian.
const (
	runMagic   = "ARBRUN01"
	runHead    = 48      // magic, checksum, entries, number of the file, offset, length of the keys, length
	runSumAt   = 8       // CRC-32C of all of the head after it and of the keys
	runSummed  = 12      // where that begins
	runPage    = 4 << 10 // a run begins with a page: none that was synced is written again
	entryHead  = 20      // offset of the value, its length and CRC-32C; length of the key, bucket, flags
	entryAlign = 8
	// runDeleted is the flag of a key that was deleted.
	runDeleted = 1
	// runChunk is how much of a run is written at once.
	runChunk = 256 << 10
)

// runFile is a file of runs: newer values than those of the bbolt file. It is only appended to, read
// through a mapping that is larger than the file, and removed once its runs are in the bbolt file.
type runFile struct {
	number uint64
	path   string
	disk   disk
	file   *os.File
	data   []byte       // the mapping; read below the end of the last run only
	refs   atomic.Int64 // the store's own, and those of readers and pins
	old    *oldRuns     // where it goes with the last of them
	// Of the goroutine that holds flushing.
	end, claimed int64
	// Of the goroutine that makes a checkpoint.
	synced int64
	named  bool // its name is durable
}

// runPath is the path of run file number n of the store at path.
func runPath(path string, n uint64) string { return runPrefix(path) + strconv.FormatUint(n, 10) }

func runPrefix(path string) string { return strings.TrimSuffix(path, filepath.Ext(path)) + ".run-" }

// oldRuns are files that nobody reads any more. They are closed from time to time: a read must not wait for
// that.
type oldRuns struct {
	mu    sync.Mutex
	files []*runFile
}

func (o *oldRuns) add(f *runFile) {
	o.mu.Lock()
	o.files = append(o.files, f)
	o.mu.Unlock()
}

func (o *oldRuns) close() {
	o.mu.Lock()
	files := o.files
	o.files = nil
	o.mu.Unlock()
	for _, f := range files {
		// Nothing is lost if either fails: what counts was synced.
		_ = unix.Munmap(f.data)
		_ = f.file.Close()
	}
}

// openRunFile opens or makes a run file of the store that can grow to a size.
func (s *Store) openRunFile(number uint64, flag int, size int64) (*runFile, error) {
	path, options := runPath(s.path, number), &s.options
	file, err := options.disk.open(path, os.O_RDWR|flag, options.FileMode)
	if err != nil {
		return nil, fmt.Errorf("opening a run file: %w", err)
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int((size+runPage-1)&^(runPage-1)), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mapping a run file: %w", err), file.Close())
	}
	f := &runFile{number: number, path: path, disk: options.disk, file: file, data: data, old: &s.oldRuns}
	f.refs.Store(1)
	return f, nil
}

// take is false if the file is closed already.
func (f *runFile) take() bool {
	for {
		n := f.refs.Load()
		if n == 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release gives the file up with the last of those who took it.
func (f *runFile) release() {
	if f.refs.Add(-1) == 0 {
		f.old.add(f)
	}
}

// entryAt reads the entry at a place: its offset by entryAlign.
func (f *runFile) entryAt(ref uint32) (b Bucket, e entry) {
	h := f.data[int64(ref)*entryAlign:]
	key := h[entryHead : entryHead+int(binary.LittleEndian.Uint16(h[16:]))]
	e.key, e.deleted = key[:len(key):len(key)], h[19]&runDeleted != 0
	if !e.deleted {
		at, n := binary.LittleEndian.Uint64(h), uint64(binary.LittleEndian.Uint32(h[8:]))
		e.value = f.data[at : at+n : at+n]
	}
	return Bucket(h[18]), e
}

// keyAt reads the bucket and the key of the entry at a place.
func (f *runFile) keyAt(ref uint32) (b Bucket, key []byte) {
	h := f.data[int64(ref)*entryAlign:]
	return Bucket(h[18]), h[entryHead : entryHead+int(binary.LittleEndian.Uint16(h[16:]))]
}

// intact tells whether the value of the entry at a place is what was written.
func (f *runFile) intact(ref uint32) bool {
	_, e := f.entryAt(ref)
	sum := binary.LittleEndian.Uint32(f.data[int64(ref)*entryAlign+12:])
	return crc32.Checksum(e.value, crc32.MakeTable(crc32.Castagnoli)) == sum
}

// entrySize is what an entry with a key takes, without its value.
func entrySize(key int) int64 { return int64(entryHead+key+entryAlign-1) &^ (entryAlign - 1) }

// runSize is what a run of the items takes.
func runSize(items []item) (keys, all int64) {
	for i := range items {
		keys += entrySize(len(items[i].key))
		all += int64(len(items[i].value))
	}
	return keys, runHead + keys + all
}

// append writes a run behind the last one and gives the places of its entries. Nothing counts before end
// is moved, so an append that failed can be made again. buffer is room to work in; it is given back.
func (f *runFile) append(items []item, buffer []byte) (refs []uint32, _ []byte, err error) {
	keys, all := runSize(items)
	filled := (all + runPage - 1) &^ (runPage - 1)
	if f.end+filled > f.claimed {
		if err := f.disk.claim(f.file, f.claimed, f.end+filled+claimAhead); err != nil {
			return nil, buffer, fmt.Errorf("claiming disk space for a run: %w", err)
		}
		f.claimed = f.end + filled + claimAhead
	}
	buffer, refs = f.appendKeys(buffer[:0], items, keys, all)
	at := f.end
	write := func(least int) error {
		if len(buffer) <= least {
			return nil
		}
		if err := f.disk.writeAt(f.file, buffer, at); err != nil {
			return fmt.Errorf("writing a run: %w", err)
		}
		at, buffer = at+int64(len(buffer)), buffer[:0]
		return nil
	}
	for i := range items {
		buffer = append(buffer, items[i].value...)
		if err := write(runChunk); err != nil {
			return nil, buffer, err
		}
		// A flush is work in the background: whoever waits for a processor goes first.
		if i%yieldEvery == yieldEvery-1 {
			runtime.Gosched()
		}
	}
	buffer = append(buffer, make([]byte, filled-all)...)
	if err := write(0); err != nil {
		return nil, buffer, err
	}
	return refs, buffer, nil
}

// appendKeys encodes the head and the keys of a run.
func (f *runFile) appendKeys(dst []byte, items []item, keys, all int64) ([]byte, []uint32) {
	table := crc32.MakeTable(crc32.Castagnoli)
	refs := make([]uint32, len(items))
	dst = append(dst, runMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(items)))
	dst = binary.LittleEndian.AppendUint64(dst, f.number)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.end))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(keys))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(all))
	value := uint64(f.end + runHead + keys)
	for i := range items {
		e := &items[i]
		refs[i] = uint32((f.end + int64(len(dst))) / entryAlign)
		dst = binary.LittleEndian.AppendUint64(dst, value)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(e.value)))
		dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(e.value, table))
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(e.key)))
		flags := byte(0)
		if e.deleted {
			flags = runDeleted
		}
		dst = append(dst, byte(e.bucket), flags)
		dst = append(dst, e.key...)
		for len(dst)%entryAlign != 0 {
			dst = append(dst, 0)
		}
		value += uint64(len(e.value))
	}
	binary.LittleEndian.PutUint32(dst[runSumAt:], crc32.Checksum(dst[runSummed:], table))
	return dst, refs
}

var errRun = errors.New("a run file is not what was written")

// next gives the places of the entries of the run at an offset, and where the next run begins. Whether
// they are what was written was told by check.
func (f *runFile) next(at int64, refs []uint32) ([]uint32, int64) {
	head := f.data[at : at+runHead]
	n := int(binary.LittleEndian.Uint32(head[12:]))
	all := int64(binary.LittleEndian.Uint64(head[40:]))
	for place := at + runHead; n > 0; n-- {
		refs = append(refs, uint32(place/entryAlign))
		place += entrySize(int(binary.LittleEndian.Uint16(f.data[place+16:])))
	}
	return refs, (at + all + runPage - 1) &^ (runPage - 1)
}

// check makes sure of the run at an offset in what is durable of the file, which ends at end. It reads
// the keys alone, not the values.
func (f *runFile) check(at, end int64) error {
	if end-at < runHead {
		return errRun
	}
	head := f.data[at : at+runHead]
	keys, all := binary.LittleEndian.Uint64(head[32:]), binary.LittleEndian.Uint64(head[40:])
	if !bytes.HasPrefix(head, []byte(runMagic)) || binary.LittleEndian.Uint64(head[16:]) != f.number ||
		binary.LittleEndian.Uint64(head[24:]) != uint64(at) || all < runHead || all > uint64(end-at) || keys > all-runHead {
		return errRun
	}
	begin, stop := at+runHead, at+runHead+int64(keys)
	sum := crc32.Checksum(f.data[at+runSummed:stop], crc32.MakeTable(crc32.Castagnoli))
	if sum != binary.LittleEndian.Uint32(head[runSumAt:]) {
		return errRun
	}
	for n := binary.LittleEndian.Uint32(head[12:]); n > 0; n-- {
		if stop-begin < entryHead {
			return errRun
		}
		h := f.data[begin:stop]
		value, length := binary.LittleEndian.Uint64(h), uint64(binary.LittleEndian.Uint32(h[8:]))
		begin += entrySize(int(binary.LittleEndian.Uint16(h[16:])))
		if begin > stop || Bucket(h[18]) >= bucketEnd || value < uint64(stop) || value > uint64(at)+all || length > uint64(at)+all-value {
			return errRun
		}
	}
	if begin != stop {
		return errRun
	}
	return nil
}

// sync makes the runs durable up to an offset, and the name of the file.
func (f *runFile) sync(end int64) error {
	if f.synced < end {
		if err := f.disk.sync(f.file); err != nil {
			return fmt.Errorf("syncing a run file: %w", err)
		}
		f.synced = end
	}
	if !f.named {
		if err := f.disk.syncNames(filepath.Dir(f.path)); err != nil {
			return fmt.Errorf("making a run file durable: %w", err)
		}
		f.named = true
	}
	return nil
}
