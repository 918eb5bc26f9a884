package backup

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Format is the format of the folder that this release reads and writes.
const Format = 1

// Manifest is one backup.
type Manifest struct {
	Head
	Groups []Stored[Group] `json:"groups"`
	Blobs  []Stored[Blob]  `json:"blobs"`
	// NewChunks and NewBytes are what this backup added to the folder; the rest it shares with others.
	NewChunks int64 `json:"newChunks"`
	NewBytes  int64 `json:"newBytes"`
	// Sum is the SHA-256, in hexadecimal, of this document without it, in the form that json.Marshal gives.
	Sum string `json:"sum,omitempty"`
}

// Stored is a group or an artifact and the chunk that lists its chunks, by their ids.
type Stored[T any] struct {
	Of   T      `json:"of"`
	List string `json:"list"`
}

// Pairs and Bytes count what the groups of the backup hold.
func (m *Manifest) Pairs() (pairs, bytes int64) {
	for i := range m.Groups {
		pairs, bytes = pairs+m.Groups[i].Of.Pairs, bytes+m.Groups[i].Of.Bytes
	}
	return pairs, bytes
}

func (m *Manifest) sum() (string, error) {
	bare := *m
	bare.Sum = ""
	raw, err := json.Marshal(&bare)
	id := IDOf(raw)
	return id.String(), err
}

// Repository is a folder of backups. One process at a time may write to it. It is used by one goroutine.
type Repository struct {
	dir   string
	lock  *os.File
	seal  *sealer
	codec *Codec

	mu     sync.Mutex
	chunks map[ID]place
	open   map[string]*os.File
}

type folderFile struct {
	Format int `json:"format"`
	// Check is a text sealed with the key, in hexadecimal; empty: nothing is sealed.
	Check string `json:"check,omitempty"`
}

const (
	folderName   = "arbiter-backups.json"
	manifestsDir = "backups"
	packsDir     = "packs"
	checkText    = "arbiter backups"
)

// Open opens a folder of backups; with create it is made if it is not there. key seals what is in it, nil
// leaves it open. A folder that another process writes to is an *nba.Error, as is another key.
func Open(dir string, key []byte, create bool) (_ *Repository, err error) {
	r := &Repository{dir: dir, chunks: map[ID]place{}, open: map[string]*os.File{}}
	if r.seal, err = newSealer(key); err != nil {
		return nil, err
	}
	if create {
		for _, d := range []string{dir, filepath.Join(dir, manifestsDir), filepath.Join(dir, packsDir)} {
			if err := os.MkdirAll(d, 0o700); err != nil {
				return nil, fmt.Errorf("making the folder of the backups: %w", err)
			}
		}
	}
	if r.lock, err = lockFolder(dir); err != nil {
		return nil, err
	}
	if r.codec, err = NewCodec(); err == nil {
		err = r.load(create)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nba.Errorf(nba.CodeNotFound, "%s is no folder of backups", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("locking the folder of the backups: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = nba.Errorf(nba.CodeConflict, "another process works on the backups in %s: wait for it", dir)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Close lets others use the folder.
func (r *Repository) Close() error {
	var problems []error
	for _, f := range r.open {
		problems = append(problems, f.Close())
	}
	if r.codec != nil {
		r.codec.Close()
	}
	return errors.Join(append(problems, r.lock.Close())...)
}

func (r *Repository) load(create bool) error {
	path := filepath.Join(r.dir, folderName)
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && create:
		return r.found(path)
	case errors.Is(err, fs.ErrNotExist):
		return nba.Errorf(nba.CodeNotFound, "%s is no folder of backups", r.dir)
	case err != nil:
		return fmt.Errorf("reading the folder of the backups: %w", err)
	}
	var file folderFile
	if err := json.Unmarshal(raw, &file); err != nil || file.Format < 1 {
		return fmt.Errorf("%w: %s cannot be read", ErrDamaged, folderName)
	}
	if file.Format > Format {
		return nba.Errorf(nba.CodeConflict, "the backups in %s have format %d, this release reads %d: use the release that wrote them", r.dir, file.Format, Format)
	}
	switch {
	case file.Check == "" && r.seal != nil:
		return nba.Errorf(nba.CodeConflict, "the backups in %s are not sealed: leave the key out, or use another folder", r.dir)
	case file.Check != "" && r.seal == nil:
		return nba.Errorf(nba.CodeConflict, "the backups in %s are sealed: name the file of their key", r.dir)
	case file.Check != "":
		sealed, err := hex.DecodeString(file.Check)
		if err == nil {
			_, err = r.seal.open(sealed, []byte(checkText))
		}
		if err != nil {
			return nba.Errorf(nba.CodeConflict, "the backups in %s are sealed with another key", r.dir)
		}
	}
	return r.index()
}

// found writes what the folder is.
func (r *Repository) found(path string) error {
	file := folderFile{Format: Format}
	if r.seal != nil {
		sealed, err := r.seal.seal([]byte(checkText), []byte(checkText))
		if err != nil {
			return err
		}
		file.Check = hex.EncodeToString(sealed)
	}
	raw, err := json.Marshal(file)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", folderName, err)
	}
	return writeWhole(path, raw)
}

// index reads which chunks there are, and clears what was cut short.
func (r *Repository) index() error {
	partial, err := filepath.Glob(filepath.Join(r.dir, "*", partialName))
	if err != nil {
		return fmt.Errorf("listing the folder of the backups: %w", err)
	}
	for _, path := range partial {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("clearing a backup that was cut short: %w", err)
		}
	}
	packs, err := filepath.Glob(filepath.Join(r.dir, packsDir, "*"+packSuffix))
	if err != nil {
		return fmt.Errorf("listing the packs: %w", err)
	}
	for _, path := range packs {
		if err := readPack(path, r.seal, func(id ID, at place) { r.chunks[id] = at }); err != nil {
			return err
		}
	}
	return nil
}

// writeWhole writes a file that is there whole or not at all, and durable.
func writeWhole(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), partialName) // with mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = store.SyncFolder(filepath.Dir(path))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", filepath.Base(path), err), os.Remove(f.Name()))
	}
	return nil
}

// Manifests are the backups in the folder, oldest first.
func (r *Repository) Manifests() ([]Manifest, error) {
	entries, err := os.ReadDir(filepath.Join(r.dir, manifestsDir))
	if err != nil {
		return nil, fmt.Errorf("listing the backups: %w", err)
	}
	list := []Manifest{}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		m, err := r.Manifest(id)
		if err != nil {
			return nil, err
		}
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b Manifest) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// Manifest reads one backup by its id; "" is the newest.
func (r *Repository) Manifest(id string) (*Manifest, error) {
	if id == "" {
		list, err := r.Manifests()
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, nba.Errorf(nba.CodeNotFound, "there is no backup in %s yet", r.dir)
		}
		return &list[len(list)-1], nil
	}
	if strings.ContainsAny(id, `/\`) {
		return nil, nba.Errorf(nba.CodeNotFound, "no backup has this id; arbiter cluster backup list shows those that there are")
	}
	raw, err := os.ReadFile(filepath.Join(r.dir, manifestsDir, id+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nba.Errorf(nba.CodeNotFound, "no backup has this id; arbiter cluster backup list shows those that there are")
	}
	if err != nil {
		return nil, fmt.Errorf("reading a manifest: %w", err)
	}
	m := &Manifest{}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("%w: the manifest of %s cannot be read", ErrDamaged, id)
	}
	if sum, err := m.sum(); err != nil || sum != m.Sum || m.ID != id {
		return nil, fmt.Errorf("%w: the manifest of %s was changed", ErrDamaged, id)
	}
	return m, nil
}

// chunk reads a chunk, compressed.
func (r *Repository) compressed(id ID) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.chunks[id]
	if !ok {
		return nil, fmt.Errorf("%w: chunk %s is missing", ErrDamaged, id)
	}
	sealed, err := at.read(r.open)
	if err != nil {
		return nil, err
	}
	return r.seal.open(sealed, id[:])
}

// chunk reads a chunk and checks it.
func (r *Repository) chunk(id ID) ([]byte, error) {
	compressed, err := r.compressed(id)
	if err != nil {
		return nil, err
	}
	return r.codec.Open(id, compressed)
}

// list reads the ids of the chunks that a list names.
func (r *Repository) list(name string) ([]ID, error) {
	raw, err := hex.DecodeString(name)
	var id ID
	if err != nil || copy(id[:], raw) != len(id) || len(raw) != len(id) {
		return nil, fmt.Errorf("%w: a manifest names no list", ErrDamaged)
	}
	content, err := r.chunk(id)
	if err != nil {
		return nil, err
	}
	if len(content)%len(id) != 0 {
		return nil, fmt.Errorf("%w: a list of chunks is not one", ErrDamaged)
	}
	ids := make([]ID, len(content)/len(id))
	for i := range ids {
		copy(ids[i][:], content[i*len(id):])
	}
	return ids, nil
}
