package raftgroup

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/store"
)

// State is the state file of a group, opened, with the mark that tells whether it may be believed.
type State struct {
	Store *store.Store
	trust *store.Trust
}

// OpenState opens the state file in the group's folder. A file that cannot be believed, since the
// machine went down while it was written or since it cannot be read, is thrown away and made again
// from the newest snapshot; the log then adds the rest. It is for use before Open.
func OpenState(dir, bootIDPath string, options store.Options, logger *slog.Logger) (*State, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the group folder: %w", err)
	}
	path := filepath.Join(dir, "state.db")
	trust, believe, err := store.CheckTrust(filepath.Join(dir, "state.mark"), bootIDPath, options.Sync)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		believe = false
	}
	if believe {
		if err := trust.Opened(); err != nil {
			return nil, err
		}
		s, err := store.Open(path, options)
		if err == nil {
			return &State{s, trust}, nil
		}
		logger.Warn("the state file cannot be opened and is made again from snapshot and log", "error", err)
	}
	s, err := rebuild(dir, path, trust, options, logger)
	if err != nil {
		return nil, fmt.Errorf("making the state again: %w", err)
	}
	return &State{s, trust}, nil
}

// rebuild distrusts the file until it is complete, so that one cut short is begun anew.
func rebuild(dir, path string, trust *store.Trust, options store.Options, logger *slog.Logger) (*store.Store, error) {
	if err := trust.Distrust(); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("removing the state file: %w", err)
	}
	s, err := store.Open(path, options)
	if err != nil {
		return nil, err
	}
	if err := restoreNewest(dir, s, logger); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := trust.Opened(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// restoreNewest restores the newest snapshot that is whole; none is no error. Whether the log reaches
// back to an older one is checked when the group starts.
func restoreNewest(dir string, s *store.Store, logger *slog.Logger) error {
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, 1<<16, newHCLog(logger))
	if err != nil {
		return fmt.Errorf("opening the snapshots: %w", err)
	}
	list, err := files.List()
	if err != nil {
		return fmt.Errorf("listing the snapshots: %w", err)
	}
	var problems []error
	for _, meta := range list {
		_, from, err := files.Open(meta.ID)
		if err == nil {
			err = errors.Join(s.Restore(from), from.Close())
		}
		if err == nil {
			logger.Info("restored the state from a snapshot", "index", meta.Index, "bytes", meta.Size)
			return nil
		}
		problems = append(problems, fmt.Errorf("snapshot at entry %d: %w", meta.Index, err))
	}
	return errors.Join(problems...)
}

// Close makes the state durable, closes it and marks it as believable. Close the group first.
func (s *State) Close() error {
	if err := s.Store.Close(); err != nil {
		return err
	}
	return s.trust.Closed()
}
