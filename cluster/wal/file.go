package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"
)

// fileSystem is the folder of a log, so that tests can take the power away.
type fileSystem interface {
	list() ([]string, error)
	// create makes a file whose blocks are allocated: writing within size needs no space.
	create(name string, size int64) (file, error)
	open(name string) (file, error)
	// openDirect opens a file for writes of whole blocks that pass the page cache by. They are gathered in room,
	// which one write at a time uses. The error may be errors.ErrUnsupported.
	openDirect(name string, room []byte) (file, error)
	rename(from, to string) error
	remove(name string) error
	syncFolder() error
}

type file interface {
	size() (int64, error)
	readAt(p []byte, offset int64) error
	// writeAt writes the parts one after the other. They may reach the disk in any order before sync.
	writeAt(parts [][]byte, offset int64) error
	sync() error
	truncate(size int64) error
	close() error
}

// folder is the real one.
type folder string

func (d folder) path(name string) string { return filepath.Join(string(d), name) }

func (d folder) list() (names []string, err error) {
	entries, err := os.ReadDir(string(d))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (d folder) create(name string, size int64) (file, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := allocate(f, size); err != nil {
		return nil, errors.Join(fmt.Errorf("allocating %d bytes: %w", size, err), f.Close(), os.Remove(d.path(name)))
	}
	return osFile{f}, nil
}

func (d folder) open(name string) (file, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d folder) rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }
func (d folder) remove(name string) error     { return os.Remove(d.path(name)) }

func (d folder) syncFolder() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type osFile struct{ *os.File }

func (f osFile) size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) readAt(p []byte, offset int64) error {
	_, err := f.ReadAt(p, offset)
	return err
}

func (f osFile) truncate(size int64) error { return f.Truncate(size) }
func (f osFile) close() error              { return f.Close() }

// roomBytes is how much is written at once where the page cache is passed by.
const roomBytes = 1 << 20

// newRoom is memory that begins at a block, as disks want it.
func newRoom() []byte {
	b := make([]byte, roomBytes+blockBytes)
	skip := blockBytes - int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))%blockBytes)
	return b[skip : skip+roomBytes]
}

// gather copies parts one after the other into room and gives it to write whenever it is full, and at the end.
func gather(parts [][]byte, room []byte, write func([]byte) error) error {
	n := 0
	for _, p := range parts {
		for len(p) > 0 {
			copied := copy(room[n:], p)
			p, n = p[copied:], n+copied
			if n < len(room) {
				continue
			}
			if err := write(room); err != nil {
				return err
			}
			n = 0
		}
	}
	if n == 0 {
		return nil
	}
	return write(room[:n])
}

// allocateByWriting is for file systems that cannot allocate without.
func allocateByWriting(f *os.File, size int64) error {
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}
