//go:build !linux

package wal

import (
	"errors"
	"os"
)

func (f osFile) writeAt(parts [][]byte, offset int64) error {
	for _, p := range parts {
		if _, err := f.WriteAt(p, offset); err != nil {
			return err
		}
		offset += int64(len(p))
	}
	return nil
}

func (d folder) openDirect(string, []byte) (file, error) { return nil, errors.ErrUnsupported }

func (f osFile) sync() error { return f.Sync() }

func allocate(f *os.File, size int64) error { return allocateByWriting(f, size) }
