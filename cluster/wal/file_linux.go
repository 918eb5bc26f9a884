package wal

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxParts is IOV_MAX: how many parts one call may write.
const maxParts = 1024

func (f osFile) writeAt(parts [][]byte, offset int64) error {
	fd := int(f.Fd())
	for parts = skip(parts, 0); len(parts) > 0; {
		n, err := unix.Pwritev(fd, parts[:min(len(parts), maxParts)], offset)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "pwritev", Path: f.Name(), Err: err}
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		offset += int64(n)
		parts = skip(parts, n)
	}
	return nil
}

// directFile writes past the page cache: the log is not read again but by a follower that is far behind, so that a copy
// of it in memory costs time, and room that other files need. Its parts are whole blocks together.
type directFile struct {
	osFile
	room []byte
}

func (d folder) openDirect(name string, room []byte) (file, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("writing past the page cache: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return nil, err
	}
	return directFile{osFile{f}, room}, nil
}

func (f directFile) writeAt(parts [][]byte, offset int64) error {
	return gather(parts, f.room, func(b []byte) error {
		n, err := f.WriteAt(b, offset)
		offset += int64(n)
		if errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("writing past the page cache: %w: %w", errors.ErrUnsupported, err)
		}
		return err
	})
}

// skip leaves out the first n bytes of parts.
func skip(parts [][]byte, n int) [][]byte {
	for len(parts) > 0 && n >= len(parts[0]) {
		n -= len(parts[0])
		parts = parts[1:]
	}
	if n > 0 {
		parts[0] = parts[0][n:]
	}
	return parts
}

// sync makes the content durable. The size never changes after the file was made.
func (f osFile) sync() error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return allocateByWriting(f, size)
	}
	return err
}
