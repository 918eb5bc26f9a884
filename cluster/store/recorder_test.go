package store

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"unsafe"

	"go.etcd.io/bbolt"
)

// recorder is a disk that remembers every write and sync, so that power cuts can be played back: image
// gives what the files may hold if the power had gone at some moment.
type recorder struct {
	realDisk
	t   testing.TB
	lie bool // sync without doing it

	mu     sync.Mutex
	events []event
	files  map[*os.File]int
	inodes map[string]int // by name
	next   int
}

type eventKind int

const (
	wrote       eventKind = iota
	syncBegun             // at is unused
	syncEnded             // since is the event of its begin
	created               // name
	removed               // name
	namesSynced           // all names are durable
	replaced              // name has content; it may be the old one until the next event says that it was done
	replaceDone
	promised // what is durable from here on: number
)

type event struct {
	kind   eventKind
	inode  int
	at     int64
	data   []byte
	name   string
	since  int
	number int
}

func newRecorder(t testing.TB, dir string) *recorder {
	r := &recorder{t: t, files: map[*os.File]int{}, inodes: map[string]int{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		inode := r.create(e.Name())
		r.whole(inode, content)
	}
	r.add(event{kind: namesSynced})
	return r
}

// create is called with mu held, or before anybody else has r.
func (r *recorder) create(name string) int {
	r.next++
	r.inodes[name] = r.next
	r.add(event{kind: created, name: name, inode: r.next})
	return r.next
}

// whole notes that an inode durably has the content.
func (r *recorder) whole(inode int, content []byte) {
	r.add(event{kind: wrote, inode: inode, data: content})
	r.add(event{kind: syncBegun, inode: inode})
	r.add(event{kind: syncEnded, inode: inode, since: len(r.events) - 1})
}

func (r *recorder) add(e event) { r.events = append(r.events, e) }

func (r *recorder) promise(number int) {
	r.mu.Lock()
	r.add(event{kind: promised, number: number})
	r.mu.Unlock()
}

func (r *recorder) open(path string, flag int, mode os.FileMode) (*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	name := filepath.Base(path)
	if _, ok := r.inodes[name]; !ok {
		r.create(name)
	}
	r.files[f] = r.inodes[name]
	return f, nil
}

// opened puts itself between bbolt and its file. There is no door for that, so it takes the window.
func (r *recorder) opened(db *bbolt.DB, f *os.File) {
	r.mu.Lock()
	inode := r.files[f]
	r.mu.Unlock()
	ops := reflect.ValueOf(db).Elem().FieldByName("ops").FieldByName("writeAt")
	writeAt := (*func([]byte, int64) (int, error))(unsafe.Pointer(ops.UnsafeAddr()))
	*writeAt = func(b []byte, at int64) (int, error) {
		r.mu.Lock()
		r.add(event{kind: wrote, inode: inode, at: at, data: append([]byte(nil), b...)})
		r.mu.Unlock()
		return f.WriteAt(b, at)
	}
	info, err := f.Stat()
	if err != nil {
		r.t.Error(err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.kind == wrote && e.inode == inode {
			return
		}
	}
	// It is new, and bbolt has written and synced its first pages.
	content := make([]byte, info.Size())
	if _, err := f.ReadAt(content, 0); err != nil {
		r.t.Error(err)
	}
	r.whole(inode, content)
}

func (r *recorder) writeAt(f *os.File, b []byte, at int64) error {
	r.mu.Lock()
	r.add(event{kind: wrote, inode: r.files[f], at: at, data: append([]byte(nil), b...)})
	r.mu.Unlock()
	return r.realDisk.writeAt(f, b, at)
}

func (r *recorder) sync(f *os.File) error {
	if r.lie {
		return nil
	}
	r.mu.Lock()
	begun := len(r.events)
	r.add(event{kind: syncBegun, inode: r.files[f]})
	r.mu.Unlock()
	// The files need not be synced: the images are made from the events.
	r.mu.Lock()
	r.add(event{kind: syncEnded, inode: r.files[f], since: begun})
	r.mu.Unlock()
	return nil
}

func (r *recorder) replace(path string, content []byte, mode os.FileMode) error {
	r.mu.Lock()
	r.add(event{kind: replaced, name: filepath.Base(path), data: content})
	r.mu.Unlock()
	err := os.WriteFile(path, content, mode)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	r.inodes[filepath.Base(path)] = r.next
	r.add(event{kind: replaceDone, name: filepath.Base(path), inode: r.next, data: content})
	return err
}

func (r *recorder) remove(path string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.inodes[filepath.Base(path)]; ok {
		delete(r.inodes, filepath.Base(path))
		r.add(event{kind: removed, name: filepath.Base(path)})
	}
	return os.RemoveAll(path)
}

func (r *recorder) syncNames(string) error {
	r.mu.Lock()
	r.add(event{kind: namesSynced})
	r.mu.Unlock()
	return nil
}

// content is what is on the disk of one inode.
type content struct {
	durable []byte
	waiting []event // written, perhaps not on the disk; since is the place among all events
}

func (c *content) write(b []byte, at int64) {
	if grow := int(at) + len(b) - len(c.durable); grow > 0 {
		c.durable = append(c.durable, make([]byte, grow)...)
	}
	copy(c.durable[at:], b)
}

// image is what the disk may hold after a power cut before event number cut, and what was promised.
func (r *recorder) image(cut int, rng *rand.Rand) (files map[string][]byte, promise int) {
	r.mu.Lock()
	events := r.events[:cut]
	r.mu.Unlock()
	inodes := map[int]*content{}
	names := map[string]int{}     // durable
	changes := []map[string]int{} // not yet durable: name to inode, 0 for none
	of := func(inode int) *content {
		if inodes[inode] == nil {
			inodes[inode] = &content{}
		}
		return inodes[inode]
	}
	for i, e := range events {
		switch e.kind {
		case wrote:
			e.since = i
			of(e.inode).waiting = append(of(e.inode).waiting, e)
		case syncEnded:
			c := of(e.inode)
			for len(c.waiting) > 0 && c.waiting[0].since < e.since {
				c.write(c.waiting[0].data, c.waiting[0].at)
				c.waiting = c.waiting[1:]
			}
		case created:
			changes = append(changes, map[string]int{e.name: e.inode})
		case removed:
			changes = append(changes, map[string]int{e.name: 0})
		case namesSynced:
			for _, c := range changes {
				apply(names, c)
			}
			changes = nil
		case replaced:
			inodes[-1-i] = &content{durable: bytes.Clone(e.data)}
			changes = append(changes, map[string]int{e.name: -1 - i})
		case replaceDone:
			inodes[e.inode] = &content{durable: bytes.Clone(e.data)}
			names[e.name] = e.inode
			changes = nil
		case promised:
			promise = e.number
		}
	}
	// A folder is a journal: what is not durable of it is lost from some change on.
	for _, c := range changes[:rng.IntN(len(changes)+1)] {
		apply(names, c)
	}
	files = map[string][]byte{}
	for name, inode := range names {
		files[name] = of(inode).survive(rng)
	}
	return files, promise
}

func apply(names map[string]int, change map[string]int) {
	for name, inode := range change {
		if inode == 0 {
			delete(names, name)
		} else {
			names[name] = inode
		}
	}
}

// survive decides what of the writes that were not synced is on the disk: in pages or sectors, none, few,
// half, most or all of them, or only what was written into the first two pages, or last.
func (c *content) survive(rng *rand.Rand) []byte {
	out := &content{durable: append([]byte(nil), c.durable...)}
	unit := []int{512, 4096}[rng.IntN(2)]
	chance := []float64{0, 0.1, 0.5, 0.9, 1}[rng.IntN(5)]
	only := rng.IntN(4)
	for i, e := range c.waiting {
		for at := 0; at < len(e.data); at += unit {
			end := min(at+unit, len(e.data))
			keep := rng.Float64() < chance
			switch only {
			case 0:
				keep = keep || e.at+int64(at) < 2*pageBytes
			case 1:
				keep = keep || i > len(c.waiting)-3
			}
			if keep {
				out.write(e.data[at:end], e.at+int64(at))
			}
		}
	}
	return out.durable
}

// put writes an image into a folder.
func putImage(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, fs.FileMode(0o600)); err != nil {
			t.Fatal(err)
		}
	}
}
