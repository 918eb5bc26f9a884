package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"golang.org/x/sys/unix"
)

const folderFormat = 1

// MaxDataGroups bounds the data groups of a folder.
const MaxDataGroups = 64

// Folder is an open data folder. No other process can open it until Close.
type Folder struct {
	path  string
	lock  *os.File
	node  Node
	space *Space
}

// Node is what node.json says; it never changes after the folder was created.
type Node struct {
	Format     int    `json:"format"`
	ClusterID  string `json:"clusterId"`
	DataGroups int    `json:"dataGroups"`
	// NodeID names this node, Nodes all nodes of the cluster, sorted, and Replicas is how many of them
	// keep each data group. They are empty in the folder of a node that stands alone.
	NodeID   string   `json:"nodeId,omitempty"`
	Nodes    []string `json:"nodes,omitempty"`
	Replicas int      `json:"replicas,omitempty"`
	// Joined tells that the node came later: it is none of Nodes, which founded the cluster.
	Joined bool `json:"joined,omitempty"`
}

// Founded tells whether the folder at path describes a node already.
func Founded(path string) (bool, error) {
	_, err := os.Stat(filepath.Join(path, "node.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for node.json: %w", err)
	}
	return true, nil
}

// OpenFolder opens the data folder at path, and creates it with the given node description if it
// does not exist yet. A folder that another process has open is an *nba.Error.
func OpenFolder(path string, create Node) (*Folder, error) {
	if create.DataGroups < 1 || create.DataGroups > MaxDataGroups {
		return nil, fmt.Errorf("%d data groups: must be between 1 and %d", create.DataGroups, MaxDataGroups)
	}
	if err := MakeFolder(path); err != nil {
		return nil, fmt.Errorf("creating the data folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(path, "lock"), path)
	if err != nil {
		return nil, err
	}
	f := &Folder{path: path, lock: lock}
	if err := f.load(create); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if f.space, err = OpenSpace(path, SpaceOptions{}); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return f, nil
}

func lockFile(path, folder string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the data folder: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = nba.Errorf(nba.CodeConflict, "the data folder %s is in use by another process: stop that one, or choose another folder", folder)
	} else {
		err = fmt.Errorf("locking the data folder: %w", err)
	}
	return nil, errors.Join(err, f.Close())
}

func (f *Folder) load(create Node) error {
	path := filepath.Join(f.path, "node.json")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		create.Format = folderFormat
		f.node = create
		raw, err := json.MarshalIndent(create, "", "  ")
		if err != nil {
			return fmt.Errorf("encoding node.json: %w", err)
		}
		return writeFile(path, append(raw, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("reading node.json: %w", err)
	}
	if err := json.Unmarshal(raw, &f.node); err != nil {
		return fmt.Errorf("node.json of the data folder is damaged: %w", err)
	}
	if f.node.Format != folderFormat {
		return nba.Errorf(nba.CodeConflict, "the data folder %s has format %d and this release reads format %d: use the release that wrote it",
			f.path, f.node.Format, folderFormat)
	}
	if f.node.DataGroups < 1 || f.node.DataGroups > MaxDataGroups {
		return fmt.Errorf("node.json of the data folder is damaged: %d data groups", f.node.DataGroups)
	}
	return nil
}

// Node is what node.json says.
func (f *Folder) Node() Node { return f.node }

// Control, Data and Blobs are the folders of the control group, of data group i, and of the modules.
func (f *Folder) Control() string { return filepath.Join(f.path, "control") }

// Data is the folder of data group i.
func (f *Folder) Data(i int) string { return filepath.Join(f.path, fmt.Sprintf("data-%02d", i)) }

// Log is the folder of the log of all groups.
func (f *Folder) Log() string { return filepath.Join(f.path, "log") }

// Blobs is the folder of the modules.
func (f *Folder) Blobs() string { return filepath.Join(f.path, "blobs") }

// Space watches the disk of the folder.
func (f *Folder) Space() *Space { return f.space }

// Close lets other processes open the folder.
func (f *Folder) Close() error {
	f.space.Close()
	if err := f.lock.Close(); err != nil {
		return fmt.Errorf("unlocking the data folder: %w", err)
	}
	return nil
}
