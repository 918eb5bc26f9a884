package blob

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPutAndGet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	s := open(t, dir)
	content := []byte("module")
	digest := Digest(content)
	if s.Has(digest) {
		t.Error("a blob is there before it was put")
	}
	if _, err := s.Get(digest); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
	for range 2 {
		if err := s.Put(digest, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(Digest(nil), content); err == nil {
		t.Error("content was stored under another digest")
	}
	if err := s.Put(digest, make([]byte, MaxBytes+1)); err == nil {
		t.Error("a blob beyond the limit was stored")
	}
	if got, err := open(t, dir).Get(digest); err != nil || !bytes.Equal(got, content) || !s.Has(digest) {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestCorruptBlobIsFoundAndReplaced(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	content := []byte("module")
	digest := Digest(content)
	if err := s.Put(digest, content); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, strings.TrimPrefix(digest, digestPrefix)), []byte("modulf"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(digest); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	if err := s.Put(digest, content); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(digest); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestUnfinishedWritesAreCleared(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "new-123")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestDigestsAreNoPaths(t *testing.T) {
	s := open(t, t.TempDir())
	for _, bad := range []string{"", "x", "sha256:", "sha256:../../etc/passwd", "sha256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("/", 64), "sha512:" + strings.Repeat("a", 64)} {
		if _, err := s.Get(bad); !errors.Is(err, ErrUnknown) || s.Has(bad) {
			t.Errorf("%q: got %v, want ErrUnknown", bad, err)
		}
	}
}

func TestConcurrentPuts(t *testing.T) {
	s := open(t, t.TempDir())
	content := bytes.Repeat([]byte("module"), 10_000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.Put(Digest(content), content); err != nil {
				t.Error(err)
			}
			if _, err := s.Get(Digest(content)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestDeleteAndOlder(t *testing.T) {
	s := open(t, t.TempDir())
	content := []byte("a module")
	digest := Digest(content)
	if err := s.Put(digest, content); err != nil {
		t.Fatal(err)
	}
	if old, err := s.Older(time.Now().Add(-time.Hour)); err != nil || len(old) != 0 {
		t.Errorf("older than an hour: %v, %v", old, err)
	}
	if old, err := s.Older(time.Now().Add(time.Hour)); err != nil || len(old) != 1 || old[0] != digest {
		t.Errorf("older than in an hour: %v, %v", old, err)
	}
	for range 2 {
		if err := s.Delete(digest); err != nil || s.Has(digest) {
			t.Errorf("delete: %v", err)
		}
	}
	if err := s.Delete("../x"); err == nil {
		t.Error("a digest that is a path is deleted")
	}
}
