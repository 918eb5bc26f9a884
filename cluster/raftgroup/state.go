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

// Close makes the state durable and closes it. Close the group first.
func (s *State) Close() error { return s.Store.Close() }
