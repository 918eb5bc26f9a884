package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Space watches the room on the disk of a data folder, so that writes are refused before the disk is full,
// and keeps a file in reserve: when others have filled the disk it is given up, for what was written
// already to be brought into the files. It is safe for concurrent use; a nil Space has all the room.
type Space struct {
	path    string // of the reserve
	options SpaceOptions
	low     atomic.Pointer[nba.Error]
	mu      sync.Mutex
	holds   bool // the reserve is there
	quit    chan struct{}
	loop    sync.WaitGroup
}

// SpaceOptions tune a Space.
type SpaceOptions struct {
	// LowBytes is how much must be free for writes to be taken, beside the reserve.
	LowBytes int64
	// ReserveBytes is the size of the reserve.
	ReserveBytes int64
	// Interval is how often the disk is looked at.
	Interval time.Duration
}

// On a small disk, both are at most this part of it.
const spacePart = 32

// OpenSpace begins to watch the disk of the folder. Zero options are 64 MiB each, and 250 ms.
func OpenSpace(folder string, options SpaceOptions) (*Space, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(folder, &stat); err != nil {
		return nil, fmt.Errorf("reading the room on the disk: %w", err)
	}
	most := int64(stat.Blocks) * stat.Bsize / spacePart
	set := func(v *int64) {
		if *v <= 0 {
			*v = 64 << 20
		}
		*v = min(*v, most)
	}
	set(&options.LowBytes)
	set(&options.ReserveBytes)
	if options.Interval <= 0 {
		options.Interval = 250 * time.Millisecond
	}
	s := &Space{path: filepath.Join(folder, "reserve"), options: options, quit: make(chan struct{})}
	if info, err := os.Stat(s.path); err == nil && info.Size() == options.ReserveBytes {
		s.holds = true
	}
	s.look()
	s.loop.Go(func() {
		ticker := time.NewTicker(options.Interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				s.look()
			case <-s.quit:
				return
			}
		}
	})
	return s, nil
}

// look decides by what is free. The reserve is taken when there is room for it twice, and given up when
// there is hardly any left; writes are taken while there is enough beside it.
func (s *Space) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var stat unix.Statfs_t
	if unix.Statfs(filepath.Dir(s.path), &stat) != nil {
		return // nobody can tell: writing tells
	}
	free := int64(stat.Bavail) * stat.Bsize
	switch {
	case !s.holds && free >= s.options.LowBytes+2*s.options.ReserveBytes:
		s.holds = s.take() == nil
	case s.holds && free < s.options.LowBytes/4:
		s.giveUp()
	}
	if s.holds && free >= s.options.LowBytes {
		s.low.Store(nil)
		return
	}
	s.low.Store(nba.Errorf(nba.CodeUnavailable,
		"the disk of the data folder is full: %d MiB are free and writes are refused until %d MiB are; free space or enlarge the disk, reads go on",
		free>>20, (s.options.LowBytes+2*s.options.ReserveBytes)>>20+1))
}

func (s *Space) take() error {
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, s.options.ReserveBytes)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nil // no reserve on this file system
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(s.path))
	}
	return nil
}

func (s *Space) giveUp() {
	s.holds = false
	_ = os.Remove(s.path) // if it cannot be removed it gives no room
}

// Exhausted tells that a write found no room: the reserve is given up at once.
func (s *Space) Exhausted() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.giveUp()
	s.mu.Unlock()
	s.look()
}

// Writable is nil while there is room for writes, and otherwise an *nba.Error with CodeUnavailable that
// tells what to do.
func (s *Space) Writable() error {
	if s == nil {
		return nil
	}
	if err := s.low.Load(); err != nil {
		return err
	}
	return nil
}

// Close ends the watch. The reserve stays.
func (s *Space) Close() {
	if s != nil {
		close(s.quit)
		s.loop.Wait()
	}
}

// Full tells whether err is that of a disk without room.
func Full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
