package wal

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
)

// errCut is what a disk answers once its power is cut.
var errCut = errors.New("the power is cut")

const sectorBytes = 512

// disk is a folder whose power can be cut. What was written but not synced is then there or not,
// sector by sector; names that were not synced are there up to any point.
type disk struct {
	mu     sync.Mutex
	random *rand.Rand
	names  map[string]*inode
	// durable names, and the changes since.
	durable map[string]*inode
	changes []func(map[string]*inode)
	cut     int   // operations until the power is cut; negative: never
	space   int64 // that files may take; 0: any
	fail    error // of the next sync
	cached  bool  // the page cache cannot be passed by
	bytes   int64
	ops     int
}

type inode struct {
	content, durable []byte
	dirty            map[int64]bool // sectors
}

func newDisk(seed uint64) *disk {
	return &disk{random: rand.New(rand.NewPCG(seed, 1)), names: map[string]*inode{}, durable: map[string]*inode{}, cut: -1, cached: seed%3 == 0}
}

// op counts an operation and tells whether there is power for it.
func (d *disk) op() error {
	d.ops++
	if d.cut == 0 {
		return errCut
	}
	if d.cut > 0 {
		d.cut--
	}
	return nil
}

// crash is the disk after the power came back. With keep, only the process died, and what it wrote is there.
func (d *disk) crash(keep bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := d.names
	if !keep {
		names = maps.Clone(d.durable)
		for _, change := range d.changes[:d.random.IntN(len(d.changes)+1)] {
			change(names)
		}
	}
	d.names, d.durable, d.changes, d.cut = map[string]*inode{}, map[string]*inode{}, nil, -1
	d.bytes = 0
	for name, n := range names {
		if !keep {
			chance := []float64{0, 1, 0.5, 0.05, 0.95}[d.random.IntN(5)]
			for s := range n.dirty {
				from, to := s*sectorBytes, min((s+1)*sectorBytes, int64(len(n.content)), int64(len(n.durable)))
				if from < to && d.random.Float64() < chance {
					copy(n.durable[from:to], n.content[from:to])
				}
			}
			n.content = n.durable
		}
		fresh := &inode{content: append([]byte(nil), n.content...), durable: append([]byte(nil), n.content...), dirty: map[int64]bool{}}
		d.names[name], d.durable[name] = fresh, fresh
		d.bytes += int64(len(fresh.content))
	}
}

func (d *disk) change(c func(map[string]*inode)) {
	c(d.names)
	d.changes = append(d.changes, c)
}

func (d *disk) list() (names []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.names {
		names = append(names, name)
	}
	return names, nil
}

func (d *disk) create(name string, size int64) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return nil, err
	}
	if d.names[name] != nil {
		return nil, os.ErrExist
	}
	if d.space > 0 && d.bytes+size > d.space {
		return nil, fmt.Errorf("creating: %w", syscall.ENOSPC)
	}
	d.bytes += size
	n := &inode{content: make([]byte, size), durable: make([]byte, size), dirty: map[int64]bool{}}
	d.change(func(names map[string]*inode) { names[name] = n })
	return &diskFile{d, n}, nil
}

func (d *disk) open(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.names[name]; n != nil {
		return &diskFile{d, n}, nil
	}
	return nil, os.ErrNotExist
}

// directDiskFile takes whole blocks only.
type directDiskFile struct {
	diskFile
	room []byte
}

func (d *disk) openDirect(name string, room []byte) (file, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	if d.cached {
		return nil, errors.ErrUnsupported
	}
	return &directDiskFile{*f.(*diskFile), room}, nil
}

func (f *directDiskFile) writeAt(parts [][]byte, offset int64) error {
	return gather(parts, f.room, func(b []byte) error {
		if offset%blockBytes != 0 || len(b)%blockBytes != 0 {
			return fmt.Errorf("%d bytes at %d are not whole blocks", len(b), offset)
		}
		err := f.diskFile.writeAt([][]byte{b}, offset)
		offset += int64(len(b))
		return err
	})
}

func (d *disk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return err
	}
	if d.names[from] == nil || d.names[to] != nil {
		panic("renaming " + from + " to " + to)
	}
	d.change(func(names map[string]*inode) {
		names[to] = names[from]
		delete(names, from)
	})
	return nil
}

func (d *disk) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return err
	}
	d.bytes -= int64(len(d.names[name].content))
	d.change(func(names map[string]*inode) { delete(names, name) })
	return nil
}

func (d *disk) syncFolder() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return err
	}
	d.durable, d.changes = maps.Clone(d.names), nil
	return nil
}

type diskFile struct {
	d *disk
	n *inode
}

func (f *diskFile) size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.n.content)), nil
}

func (f *diskFile) readAt(p []byte, offset int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if offset+int64(len(p)) > int64(len(f.n.content)) {
		return fmt.Errorf("reading beyond the end")
	}
	copy(p, f.n.content[offset:])
	return nil
}

func (f *diskFile) writeAt(parts [][]byte, offset int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.d.op()
	if err != nil && f.d.random.IntN(2) == 0 {
		return err
	}
	// A write that is cut short may have reached the disk in part, as unsynced sectors do.
	for _, p := range parts {
		if offset+int64(len(p)) > int64(len(f.n.content)) {
			return fmt.Errorf("writing beyond the end")
		}
		copy(f.n.content[offset:], p)
		for s := offset / sectorBytes; s*sectorBytes < offset+int64(len(p)); s++ {
			f.n.dirty[s] = true
		}
		offset += int64(len(p))
		if err != nil && f.d.random.IntN(3) == 0 {
			break
		}
	}
	return err
}

func (f *diskFile) sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.op(); err != nil {
		return err
	}
	if err := f.d.fail; err != nil {
		f.d.fail = nil
		return err
	}
	if len(f.n.durable) != len(f.n.content) {
		f.n.durable = append([]byte(nil), f.n.content...)
	}
	for s := range f.n.dirty {
		if from := s * sectorBytes; from < int64(len(f.n.content)) {
			copy(f.n.durable[from:min(from+sectorBytes, int64(len(f.n.content)))], f.n.content[from:])
		}
	}
	clear(f.n.dirty)
	return nil
}

func (f *diskFile) truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.op(); err != nil {
		return err
	}
	f.d.bytes -= int64(len(f.n.content)) - size
	f.n.content = append([]byte(nil), f.n.content[:size]...)
	return nil
}

func (f *diskFile) close() error { return nil }
