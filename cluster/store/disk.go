package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// disk is where the files are. Tests put one in its place that remembers every write and sync.
type disk interface {
	open(path string, flag int, mode os.FileMode) (*os.File, error)
	// opened is told of every bbolt file.
	opened(db *bbolt.DB, f *os.File)
	writeAt(f *os.File, b []byte, at int64) error
	// sync makes durable what was written into f.
	sync(f *os.File) error
	// replace puts content at path, durably: it holds either the old or the new, whatever happens.
	replace(path string, content []byte, mode os.FileMode) error
	remove(path string) error
	// syncNames makes the names in a folder durable.
	syncNames(path string) error
	// claim makes sure that the file can grow to size, and fails if the disk has no room.
	claim(f *os.File, from, size int64) error
	// startWriting begins to write to the disk what is in memory of f, so that a later sync is short.
	startWriting(f *os.File)
}

type realDisk struct{}

func (realDisk) open(path string, flag int, mode os.FileMode) (*os.File, error) {
	return os.OpenFile(path, flag, mode)
}

func (realDisk) opened(*bbolt.DB, *os.File) {}

func (realDisk) writeAt(f *os.File, b []byte, at int64) error {
	_, err := f.WriteAt(b, at)
	return err
}

func (realDisk) sync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (realDisk) replace(path string, content []byte, mode os.FileMode) error {
	return writeFile(path, content, mode)
}

func (realDisk) remove(path string) error { return os.RemoveAll(path) }

func (realDisk) syncNames(path string) error { return SyncFolder(path) }

func (realDisk) claim(f *os.File, from, size int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, from, size-from)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil // this file system cannot tell in advance
	}
	return err
}

func (realDisk) startWriting(f *os.File) {
	// A hint: what it does not write, sync does.
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

// writeFile replaces the file at path durably: it holds either the old or the new bytes, whatever
// happens.
func writeFile(path string, content []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return fmt.Errorf("creating %s: %w", filepath.Base(path), err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("writing %s: %w", filepath.Base(path), err), os.Remove(f.Name()))
		}
	}()
	_, writeErr := f.Write(content)
	if err := errors.Join(writeErr, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// MakeFolder creates a folder, if it does not exist, so that it is still there after a power cut.
func MakeFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("creating a folder: %w", err)
	}
	return SyncFolder(filepath.Dir(path))
}

// SyncFolder makes the names in a folder durable.
func SyncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening a folder to sync it: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing a folder: %w", err)
	}
	return nil
}
