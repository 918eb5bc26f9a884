package backup

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// state is a made-up group: pairs in order.
type state [][2]string

func someState(n int, changed map[int]bool) (s state) {
	for i := range n {
		generation := 0
		if changed[i] {
			generation = 1
		}
		random := mathrand.New(mathrand.NewPCG(uint64(i), uint64(generation)))
		value := binary.LittleEndian.AppendUint64(nil, random.Uint64())
		value = append(value, strings.Repeat(fmt.Sprintf("value %d of %d ", generation, i), 1+random.IntN(20))...)
		s = append(s, [2]string{fmt.Sprintf("key-%08d", i), string(value)})
	}
	return s
}

func (s state) chunks(t *testing.T) (chunks [][]byte) {
	t.Helper()
	c := Cutter{Done: func(chunk []byte) error { chunks = append(chunks, chunk); return nil }}
	for _, pair := range s {
		if err := c.Add(1, []byte(pair[0]), []byte(pair[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	return chunks
}

// stream is the stream of a backup of one group, but for what is known.
func (s state) stream(t *testing.T, codec *Codec, req Request) []byte {
	t.Helper()
	known := map[ID]bool{}
	for ids := req.Chunks; len(ids) > 0; ids = ids[32:] {
		known[ID(ids[:32])] = true
	}
	var out bytes.Buffer
	w := NewWriter(&out, Head{ID: ulid.Make().String(), Cluster: "test", DataGroups: 1})
	g := Group{Name: "data-00", Number: 1, Digest: "d"}
	err := w.Group(g)
	for _, chunk := range s.chunks(t) {
		id := IDOf(chunk)
		if known[id] {
			err = errors.Join(err, w.Ref(id))
		} else {
			err = errors.Join(err, w.Chunk(id, codec.Compress(chunk)))
		}
	}
	g.Pairs = int64(len(s))
	if err := errors.Join(err, w.Done(g), w.End()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// read is what a backup in a folder holds.
func read(t *testing.T, r *Repository, m *Manifest) (s state) {
	t.Helper()
	err := r.Each(m, func(_ Group, chunk []byte) error {
		return Pairs(chunk, func(_ uint8, key, value []byte) error {
			s = append(s, [2]string{string(key), string(value)})
			return nil
		})
	}, func(Blob, []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newCodec(t *testing.T) *Codec {
	t.Helper()
	codec, err := NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(codec.Close)
	return codec
}

func open(t *testing.T, dir string, key []byte) *Repository {
	t.Helper()
	r, err := Open(dir, key, true)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestBackupsShareWhatIsTheSame: the second backup brings what changed, both can be read, and when the first
// is removed the second still can.
func TestBackupsShareWhatIsTheSame(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprintf("sealed %t", sealed), func(t *testing.T) {
			var key []byte
			if sealed {
				key = make([]byte, KeyBytes)
				if _, err := rand.Read(key); err != nil {
					t.Fatal(err)
				}
			}
			codec, dir := newCodec(t), filepath.Join(t.TempDir(), "backups")
			const size = 20_000
			states := []state{someState(size, nil), someState(size, map[int]bool{7: true, size / 2: true}), someState(size+10, map[int]bool{7: true})}
			var made []*Manifest
			for _, s := range states {
				r := open(t, dir, key)
				req, err := r.Request()
				if err != nil {
					t.Fatal(err)
				}
				m, err := r.Receive(bytes.NewReader(s.stream(t, codec, req)))
				if err := errors.Join(err, r.Close()); err != nil {
					t.Fatal(err)
				}
				made = append(made, m)
			}
			if whole := made[0].NewBytes; made[1].NewBytes > whole/10 || made[2].NewBytes > whole/10 {
				t.Errorf("of %d bytes, %d and %d were new after two and ten of %d pairs changed", whole, made[1].NewBytes, made[2].NewBytes, size)
			}
			r := open(t, dir, key)
			defer r.Close()
			for i, m := range made {
				if got := read(t, r, m); fmt.Sprint(got) != fmt.Sprint(states[i]) {
					t.Errorf("backup %d holds something else than what was backed up", i)
				}
			}
			before := folderBytes(t, dir)
			if removed, err := r.Prune(1); err != nil || removed != 2 {
				t.Fatalf("pruned %d: %v", removed, err)
			}
			if list, err := r.Manifests(); err != nil || len(list) != 1 || list[0].ID != made[2].ID {
				t.Errorf("after pruning: %v %v", list, err)
			}
			if got := read(t, r, made[2]); fmt.Sprint(got) != fmt.Sprint(states[2]) {
				t.Error("after pruning the backup holds something else")
			}
			if after := folderBytes(t, dir); after > before {
				t.Errorf("the folder had %d bytes and has %d after pruning", before, after)
			}
		})
	}
}

// TestOldPacksShrink: what only removed backups needed goes from the folder.
func TestOldPacksShrink(t *testing.T) {
	codec, dir := newCodec(t), t.TempDir()
	r := open(t, dir, nil)
	defer r.Close()
	changed := map[int]bool{}
	for i := range 4000 {
		changed[i] = true
	}
	states := []state{someState(4000, nil), someState(4000, changed)}
	for _, s := range states {
		if _, err := r.Receive(bytes.NewReader(s.stream(t, codec, Request{}))); err != nil {
			t.Fatal(err)
		}
	}
	before := folderBytes(t, dir)
	if _, err := r.Prune(1); err != nil {
		t.Fatal(err)
	}
	if after := folderBytes(t, dir); after > before*2/3 {
		t.Errorf("%d bytes, and %d after the first of two different backups was removed", before, after)
	}
	m, err := r.Manifest("")
	if err != nil || fmt.Sprint(read(t, r, m)) != fmt.Sprint(states[1]) {
		t.Errorf("the other backup is not what it was: %v", err)
	}
}

func folderBytes(t *testing.T, dir string) (total int64) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range packs {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	return total
}

// TestStreamsThatAreCut: no part of a stream is a backup, and a stream that was changed is refused.
func TestStreamsThatAreCut(t *testing.T) {
	codec, dir := newCodec(t), t.TempDir()
	stream := someState(2000, nil).stream(t, codec, Request{})
	r := open(t, dir, nil)
	defer r.Close()
	for _, n := range []int{0, 5, 30, len(stream) / 2, len(stream) - 1} {
		if _, err := r.Receive(bytes.NewReader(stream[:n])); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d of %d bytes: %v", n, len(stream), err)
		}
	}
	for _, at := range []int{9, 60, len(stream) / 3, len(stream) / 2, len(stream) - 5} {
		changed := bytes.Clone(stream)
		changed[at] ^= 0x40
		if _, err := r.Receive(bytes.NewReader(changed)); err == nil {
			t.Errorf("a stream with byte %d changed was kept", at)
		}
	}
	if list, err := r.Manifests(); err != nil || len(list) != 0 {
		t.Errorf("%d backups were kept: %v", len(list), err)
	}
	if _, err := r.Receive(bytes.NewReader(stream)); err != nil {
		t.Errorf("the whole stream: %v", err)
	}
}

// TestKeysOfFolders: a sealed folder opens with its key alone, and one process at a time may work on it.
func TestKeysOfFolders(t *testing.T) {
	dir := t.TempDir()
	key, other := bytes.Repeat([]byte{1}, KeyBytes), bytes.Repeat([]byte{2}, KeyBytes)
	r := open(t, dir, key)
	if _, err := Open(dir, key, false); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("opened twice: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range [][]byte{nil, other} {
		if _, err := Open(dir, wrong, true); nba.CodeOf(err) != nba.CodeConflict {
			t.Errorf("opened with another key: %v", err)
		}
	}
	if _, err := Open(filepath.Join(dir, "none"), nil, false); nba.CodeOf(err) != nba.CodeNotFound {
		t.Errorf("a folder that is not there: %v", err)
	}
	file := filepath.Join(dir, "key")
	for content, ok := range map[string]bool{strings.Repeat("ab", 32) + "\n": true, "short": false, strings.Repeat("zz", 32): false} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKey(file); (err == nil) != ok || err != nil && strings.Contains(err.Error(), strings.TrimSpace(content)) {
			t.Errorf("a key file: %v", err)
		}
	}
}

// TestManifestsAreSealed: a manifest that was changed is no backup.
func TestManifestsAreSealed(t *testing.T) {
	codec, dir := newCodec(t), t.TempDir()
	r := open(t, dir, nil)
	defer r.Close()
	m, err := r.Receive(bytes.NewReader(someState(10, nil).stream(t, codec, Request{})))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, manifestsDir, m.ID+".json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(raw, []byte(`"pairs":10`), []byte(`"pairs":11`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Manifest(m.ID); !errors.Is(err, ErrDamaged) {
		t.Errorf("a changed manifest: %v", err)
	}
	if _, err := r.Manifest("../" + m.ID); nba.CodeOf(err) != nba.CodeNotFound {
		t.Errorf("a path as an id: %v", err)
	}
}

type ignore struct{ codec *Codec }

func (ignore) Begin(Head) error      { return nil }
func (ignore) Group(Group) error     { return nil }
func (ignore) Blob(Blob) error       { return nil }
func (ignore) GroupDone(Group) error { return nil }
func (ignore) BlobDone(Blob) error   { return nil }
func (i ignore) Chunk(id ID, compressed []byte) error {
	if compressed == nil {
		return nil
	}
	chunk, err := i.codec.Open(id, compressed)
	if err != nil {
		return err
	}
	return Pairs(chunk, func(uint8, []byte, []byte) error { return nil })
}

// FuzzRead: no stream, whatever it holds, does more than give an error.
func FuzzRead(f *testing.F) {
	codec, err := NewCodec()
	if err != nil {
		f.Fatal(err)
	}
	defer codec.Close()
	var out bytes.Buffer
	w := NewWriter(&out, Head{ID: "01KB3V8Q5M9T1Z7X4C6W2R0YHD", Cluster: "fuzz", DataGroups: 1})
	chunk := []byte{1, 3, 5, 'k', 'e', 'y', 'v', 'a', 'l', 'u', 'e'}
	_ = w.Group(Group{Name: "data-00", Number: 1})
	_ = w.Chunk(IDOf(chunk), codec.Compress(chunk))
	_ = w.Ref(IDOf(chunk))
	_ = w.Done(Group{Name: "data-00", Number: 1, Pairs: 2})
	_ = w.Blob(Blob{Digest: "sha256:"})
	_ = w.Done(Blob{})
	_ = w.End()
	f.Add(out.Bytes())
	f.Add(out.Bytes()[:20])
	f.Add([]byte(streamMagic))
	f.Fuzz(func(_ *testing.T, stream []byte) { _ = Read(bytes.NewReader(stream), ignore{codec}) })
}
