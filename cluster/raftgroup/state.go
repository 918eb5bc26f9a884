package raftgroup

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
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
	if err := store.MakeFolder(dir); err != nil {
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
			return &State{Store: s, trust: trust}, nil
		}
		logger.Warn("the state file cannot be opened and is made again from snapshot and log", "error", err)
	}
	s, err := rebuild(dir, path, trust, options, logger)
	if err != nil {
		return nil, fmt.Errorf("making the state again: %w", err)
	}
	return &State{Store: s, trust: trust}, nil
}

// rebuild distrusts the file until it is complete, so that one cut short is begun anew.
func rebuild(dir, path string, trust *store.Trust, options store.Options, logger *slog.Logger) (s *store.Store, err error) {
	if err := trust.Distrust(); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("removing the state file: %w", err)
	}
	if s, err = store.Open(path, options); err != nil {
		return nil, err
	}
	if err = restoreNewest(dir, s, logger); err == nil {
		err = trust.Opened()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// restoreNewest restores the newest snapshot that is whole, if there is one. Newer ones that are
// damaged are moved aside: a state must hold every snapshot beside it. Whether the log reaches back
// far enough is checked when the group starts.
func restoreNewest(dir string, s *store.Store, logger *slog.Logger) error {
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, math.MaxInt, newHCLog(logger))
	if err != nil {
		return fmt.Errorf("opening the snapshots: %w", err)
	}
	list, err := files.List()
	if err != nil {
		return fmt.Errorf("listing the snapshots: %w", err)
	}
	for _, meta := range list {
		_, from, err := files.Open(meta.ID)
		if err == nil {
			err = errors.Join(s.Restore(from), from.Close())
		}
		if err == nil {
			logger.Info("restored the state from a snapshot", "index", meta.Index, "bytes", meta.Size)
			return nil
		}
		logger.Warn("a snapshot is damaged and was moved aside; an older one, or the log alone, may do", "index", meta.Index, "error", err)
		if err := moveAside(dir, meta.ID); err != nil {
			return err
		}
	}
	return nil
}

func moveAside(dir, snapshot string) error {
	aside := filepath.Join(dir, "damaged-snapshots")
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return fmt.Errorf("moving a damaged snapshot aside: %w", err)
	}
	if err := os.Rename(filepath.Join(dir, "snapshots", snapshot), filepath.Join(aside, snapshot)); err != nil {
		return fmt.Errorf("moving a damaged snapshot aside: %w", err)
	}
	return nil
}

// Close makes the state durable, closes it and marks it as believable. Close the group first.
func (s *State) Close() error {
	if err := s.Store.Close(); err != nil {
		return err
	}
	return s.trust.Closed()
}
