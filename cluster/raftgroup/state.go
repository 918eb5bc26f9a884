package raftgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/arbiterhq/arbiter/cluster/store"
)

// State is the state of a group, opened.
type State struct {
	Store *store.Store
}

// OpenState opens the state in the group's folder as of its last checkpoint, whatever happened to the
// machine since; the log then adds the rest. A state that cannot be opened is put aside and an empty one
// begun: Open refuses it unless the log is whole from its first entry on. It is for use before Open.
func OpenState(dir string, options store.Options, logger *slog.Logger) (*State, error) {
	if err := store.MakeFolder(dir); err != nil {
		return nil, fmt.Errorf("creating the group folder: %w", err)
	}
	path := filepath.Join(dir, "state.db")
	s, err := store.Open(path, options)
	if errors.Is(err, store.ErrNoCheckpoint) || errors.Is(err, store.ErrDamaged) {
		logger.Error("the state cannot be used and was put aside; it is made again from the log, if that is whole", "error", err)
		if err := putAside(dir); err != nil {
			return nil, err
		}
		s, err = store.Open(path, options)
	}
	if err != nil {
		return nil, err
	}
	return &State{Store: s}, nil
}

// putAside moves the files of a state to damaged-state, where the next that is put aside replaces them.
func putAside(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "state*"))
	if err != nil {
		return fmt.Errorf("listing the files of the state: %w", err)
	}
	aside := filepath.Join(dir, "damaged-state")
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("removing an older damaged state: %w", err)
	}
	if err := store.MakeFolder(aside); err != nil {
		return err
	}
	for _, path := range files {
		if err := os.Rename(path, filepath.Join(aside, filepath.Base(path))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("putting the state aside: %w", err)
		}
	}
	return store.SyncFolder(dir)
}

// repairState sees to a state that was lost while the log was kept, and had been truncated: what it held
// is on the other nodes alone. The log is dropped too, and the replica begins anew: as a newborn it
// neither votes nor stands for election until a leader has sent it the state. The only voter of a group
// cannot get it back: snapshots.begin refuses.
func (g *Group) repairState() error {
	at, err := g.snapshots.durable()
	if err != nil {
		return err
	}
	first, last, err := ends(g.log)
	if err != nil || at != nil || last == 0 || first == 1 || !g.others(at) {
		return err
	}
	g.logger.Error("the state is lost and comes from the other nodes; this one does not vote before", "log begins", first)
	if err := g.markNewborn(); err != nil {
		return err
	}
	return g.keepLog(func() error { return g.log.DeleteRange(first, last) })
}

// Close makes the state durable and closes it. Close the group first.
func (s *State) Close() error { return s.Store.Close() }
