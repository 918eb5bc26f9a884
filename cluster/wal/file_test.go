package wal

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

// picky is a file system that lets files be opened to pass the page cache by, and refuses to write so.
type picky struct{ folder }

type pickyFile struct{ file }

func (p picky) openDirect(name string, _ []byte) (file, error) {
	f, err := p.open(name)
	return pickyFile{f}, err
}

func (pickyFile) writeAt([][]byte, int64) error { return errors.ErrUnsupported }

// TestFileSystems: the log holds what was written whether or not the file system lets the page cache be passed by,
// and says so early or late.
func TestFileSystems(t *testing.T) {
	memory, err := os.MkdirTemp("/dev/shm", "wal")
	if err != nil {
		t.Logf("NOT TESTED in memory: %v", err)
		memory = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	for name, fs := range map[string]fileSystem{"disk": folder(t.TempDir()), "memory": folder(memory), "picky": picky{folder(t.TempDir())}} {
		t.Run(name, func(t *testing.T) {
			l, err := open(fs, Options{})
			if err != nil {
				t.Fatal(err)
			}
			g, err := l.Group("g")
			if err != nil {
				t.Fatal(err)
			}
			sizes := []int{0, 1, 4000, 5000, 300 << 10, 3 << 20, 20 << 20, 7}
			for i, size := range sizes {
				if err := g.Append([]Entry{{Index: uint64(i + 1), Term: 1, Data: bytes.Repeat([]byte{byte('a' + i)}, size)}}); err != nil {
					t.Fatal(err)
				}
			}
			if direct := l.room != nil; direct != (l.tail.direct != nil) || name == "picky" && direct {
				t.Errorf("past the page cache: %t", direct)
			}
			for range 2 {
				for i, size := range sizes {
					var e Entry
					if err := g.Read(uint64(i+1), &e); err != nil || !bytes.Equal(e.Data, bytes.Repeat([]byte{byte('a' + i)}, size)) {
						t.Errorf("entry %d of %d bytes: %d bytes, %v", i+1, size, len(e.Data), err)
					}
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if l, err = open(fs, Options{}); err != nil {
					t.Fatal(err)
				}
				if g, err = l.Group("g"); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
