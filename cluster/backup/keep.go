package backup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"encoding/hex"
	"encoding/json"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Request asks a node for a backup.
type Request struct {
	// Groups are those of the receiver's last backup: one that stands there still is not sent again.
	Groups []Group `json:"groups,omitempty"`
	// Cluster is that of the last backup.
	Cluster string `json:"cluster,omitempty"`
	// Chunks are the ids of the chunks that the receiver has, 32 bytes each: they are not sent.
	Chunks []byte `json:"chunks,omitempty"`
}

// Request is what the folder has already. A folder holds the backups of one cluster at a time best, but it
// may hold those of several.
func (r *Repository) Request() (Request, error) {
	var req Request
	last, err := r.Manifest("")
	if nba.CodeOf(err) == nba.CodeNotFound {
		return req, nil
	}
	if err != nil {
		return req, err
	}
	req.Cluster = last.Cluster
	for i := range last.Groups {
		req.Groups = append(req.Groups, last.Groups[i].Of)
	}
	for id := range r.chunks {
		req.Chunks = append(req.Chunks, id[:]...)
	}
	return req, nil
}

// Receive keeps the backup of a stream. It is there once Receive returned without an error: the manifest is
// written last. What a stream that failed has brought is of use to the next one.
func (r *Repository) Receive(from io.Reader) (*Manifest, error) {
	in := &receiving{repository: r}
	if last, err := r.Manifest(""); err == nil {
		in.last = last
	}
	err := Read(from, in)
	if err = errors.Join(err, in.endPack()); err != nil {
		return nil, err
	}
	m := &in.manifest
	if m.Sum, err = m.sum(); err != nil {
		return nil, fmt.Errorf("encoding a manifest: %w", err)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding a manifest: %w", err)
	}
	if err := writeWhole(filepath.Join(r.dir, manifestsDir, m.ID+".json"), raw); err != nil {
		return nil, err
	}
	return m, nil
}

// receiving is a backup that is being received.
type receiving struct {
	repository *Repository
	last       *Manifest
	manifest   Manifest
	pack       *packWriter
	packPath   string
	fresh      []ID // of the pack that is being written
	ids        []byte
	group      Group
	blob       Blob
}

// Begin implements Receiver.
func (in *receiving) Begin(head Head) error {
	if _, err := ulid.ParseStrict(head.ID); err != nil {
		return fmt.Errorf("%w: the backup has no id", ErrDamaged)
	}
	in.manifest.Head = head
	return nil
}

// Group implements Receiver.
func (in *receiving) Group(g Group) error {
	in.group, in.ids = g, nil
	return nil
}

// Blob implements Receiver.
func (in *receiving) Blob(b Blob) error {
	in.blob, in.ids = b, nil
	return nil
}

// Chunk implements Receiver.
func (in *receiving) Chunk(id ID, compressed []byte) error {
	in.ids = append(in.ids, id[:]...)
	_, known := in.repository.chunks[id]
	switch {
	case known:
		return nil
	case compressed == nil:
		return fmt.Errorf("%w: the stream leaves a chunk out that is not here", ErrDamaged)
	}
	if _, err := in.repository.codec.Open(id, compressed); err != nil {
		return err
	}
	return in.keep(id, compressed)
}

func (in *receiving) keep(id ID, compressed []byte) error {
	r := in.repository
	if in.pack == nil {
		var err error
		if in.pack, err = newPack(filepath.Join(r.dir, packsDir)); err != nil {
			return err
		}
		in.packPath = filepath.Join(r.dir, packsDir, ulid.Make().String()+packSuffix)
	}
	sealed, err := r.seal.seal(compressed, id[:])
	if err != nil {
		return err
	}
	offset, err := in.pack.add(id, sealed)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.chunks[id] = place{pack: in.packPath, offset: offset, length: uint32(len(sealed))}
	r.mu.Unlock()
	in.fresh = append(in.fresh, id)
	in.manifest.NewChunks++
	in.manifest.NewBytes += int64(len(sealed))
	if in.pack.at >= packFull {
		return in.endPack()
	}
	return nil
}

// endPack makes the pack that is being written durable.
func (in *receiving) endPack() error {
	if in.pack == nil {
		return nil
	}
	pack := in.pack
	in.pack = nil
	if err := pack.finish(in.packPath, in.repository.seal); err != nil {
		for _, id := range in.fresh {
			delete(in.repository.chunks, id)
		}
		return err
	}
	in.fresh = nil
	return store.SyncFolder(filepath.Join(in.repository.dir, packsDir))
}

// list keeps the list of the chunks that came and gives its name.
func (in *receiving) list() (string, error) {
	if len(in.ids) > MaxChunk {
		return "", nba.Errorf(nba.CodeTooLarge, "a group of more than %d chunks cannot be backed up", MaxChunk/len(ID{}))
	}
	id := IDOf(in.ids)
	if _, known := in.repository.chunks[id]; !known {
		if err := in.keep(id, in.repository.codec.Compress(in.ids)); err != nil {
			return "", err
		}
	}
	return id.String(), nil
}

// GroupDone implements Receiver.
func (in *receiving) GroupDone(g Group) error {
	stored := Stored[Group]{Of: g}
	stored.Of.Same = false
	if g.Same {
		i := -1
		if in.last != nil {
			i = slices.IndexFunc(in.last.Groups, func(s Stored[Group]) bool {
				return s.Of.Number == g.Number && s.Of.Index == g.Index && s.Of.Digest == g.Digest
			})
		}
		if i < 0 {
			return fmt.Errorf("%w: the stream says that group %s is as in a backup that is not here", ErrDamaged, g.Name)
		}
		stored = in.last.Groups[i]
	} else {
		var err error
		if stored.List, err = in.list(); err != nil {
			return err
		}
	}
	in.manifest.Groups = append(in.manifest.Groups, stored)
	return nil
}

// BlobDone implements Receiver.
func (in *receiving) BlobDone(b Blob) error {
	name, err := in.list()
	in.manifest.Blobs = append(in.manifest.Blobs, Stored[Blob]{Of: b, List: name})
	return err
}

// Send streams a backup whole, as a restore needs it.
func (r *Repository) Send(m *Manifest, to io.Writer) error {
	w := NewWriter(to, m.Head)
	chunks := func(list string) error {
		ids, err := r.list(list)
		if err != nil {
			return err
		}
		for _, id := range ids {
			compressed, err := r.compressed(id)
			if err != nil {
				return err
			}
			if err := w.Chunk(id, compressed); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range m.Blobs { // what the control group names must be there before it
		b := &m.Blobs[i]
		if err := errors.Join(w.Blob(b.Of), chunks(b.List), w.Done(b.Of)); err != nil {
			return err
		}
	}
	for i := range m.Groups {
		g := &m.Groups[i]
		if err := errors.Join(w.Group(g.Of), chunks(g.List), w.Done(g.Of)); err != nil {
			return err
		}
	}
	return w.End()
}

// Each reads every chunk of a backup and checks it against its id: each group with its chunks, then each
// artifact.
func (r *Repository) Each(m *Manifest, group func(g Group, chunk []byte) error, blob func(b Blob, part []byte) error) error {
	for i := range m.Groups {
		g := &m.Groups[i]
		if err := r.eachOf(g.List, func(chunk []byte) error { return group(g.Of, chunk) }); err != nil {
			return fmt.Errorf("group %s: %w", g.Of.Name, err)
		}
	}
	for i := range m.Blobs {
		b := &m.Blobs[i]
		if err := r.eachOf(b.List, func(part []byte) error { return blob(b.Of, part) }); err != nil {
			return fmt.Errorf("artifact %s: %w", b.Of.Digest, err)
		}
	}
	return nil
}

func (r *Repository) eachOf(list string, fn func([]byte) error) error {
	ids, err := r.list(list)
	if err != nil {
		return err
	}
	for _, id := range ids {
		chunk, err := r.chunk(id)
		if err != nil {
			return err
		}
		if err := fn(chunk); err != nil {
			return err
		}
	}
	return nil
}

// Prune removes all backups but the newest keep, and the chunks that no other backup needs. A pack of which
// less than half is needed is written anew without the rest.
func (r *Repository) Prune(keep int) (removed int, err error) {
	list, err := r.Manifests()
	if err != nil {
		return 0, err
	}
	needed := map[ID]bool{}
	last := max(len(list)-keep, 0)
	for i := range list[last:] {
		if err := r.need(&list[last+i], needed); err != nil {
			return 0, err
		}
	}
	for i := range list[:last] {
		if err := os.Remove(filepath.Join(r.dir, manifestsDir, list[i].ID+".json")); err != nil {
			return i, fmt.Errorf("removing a backup: %w", err)
		}
	}
	if err := store.SyncFolder(filepath.Join(r.dir, manifestsDir)); err != nil {
		return last, err
	}
	return last, r.sweep(needed)
}

// need adds the chunks of a backup.
func (r *Repository) need(m *Manifest, needed map[ID]bool) error {
	var lists []string
	for i := range m.Groups {
		lists = append(lists, m.Groups[i].List)
	}
	for i := range m.Blobs {
		lists = append(lists, m.Blobs[i].List)
	}
	for _, name := range lists {
		ids, err := r.list(name)
		if err != nil {
			return err
		}
		var id ID
		raw, err := hex.DecodeString(name)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		copy(id[:], raw)
		needed[id] = true
		for _, id := range ids {
			needed[id] = true
		}
	}
	return nil
}

// sweep removes packs that hold nothing that is needed, and shrinks those that hold little of it.
func (r *Repository) sweep(needed map[ID]bool) error {
	type use struct {
		live, all int64
		ids       []ID
	}
	packs := map[string]*use{}
	for id, at := range r.chunks {
		u := packs[at.pack]
		if u == nil {
			u = &use{}
			packs[at.pack] = u
		}
		u.all += int64(at.length)
		if needed[id] {
			u.live += int64(at.length)
			u.ids = append(u.ids, id)
		}
	}
	for path, u := range packs {
		if 2*u.live >= u.all {
			continue
		}
		in := &receiving{repository: r}
		for _, id := range u.ids {
			compressed, err := r.compressed(id)
			if err == nil {
				err = in.keep(id, compressed)
			}
			if err != nil {
				return errors.Join(err, in.endPack())
			}
		}
		if err := in.endPack(); err != nil {
			return err
		}
		for id, at := range r.chunks {
			if at.pack == path {
				delete(r.chunks, id)
			}
		}
		if f := r.open[path]; f != nil {
			delete(r.open, path)
			if err := f.Close(); err != nil {
				return fmt.Errorf("closing a pack: %w", err)
			}
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("removing a pack: %w", err)
		}
	}
	return store.SyncFolder(filepath.Join(r.dir, packsDir))
}
