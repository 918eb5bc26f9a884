package router

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/arbiterhq/arbiter/cluster/backup"
	"github.com/arbiterhq/arbiter/cluster/blob"
	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// RestoreOptions tell how a backup is restored.
type RestoreOptions struct {
	// WithoutEvents leaves out what belongs to a data group by number: kept events with what is known to be a
	// duplicate, dead letters, the cursors of streams, and how far runs of campaigns are. A cluster with another number of data groups than
	// the backup needs it, if there is any.
	WithoutEvents bool
	// Keep stores an artifact where all nodes find it.
	Keep func(ctx context.Context, digest string, content []byte) error
}

// Restored counts what a restore did. It is safe for concurrent use.
type Restored struct {
	Groups, Pairs, Bytes, Blobs, Left atomic.Int64
}

// Limits of a restore.
const (
	loadBytes   = 512 << 10 // of the pairs of one operation
	loadsAtOnce = 2         // operations under way in each group
	loadTimeout = time.Minute
)

// Restore fills the groups of this cluster, which hold nothing yet, with the backup of a stream. What was
// restored takes effect together, at the end. A restore that failed may be begun again with the same backup.
func (r *Router) Restore(ctx context.Context, from io.Reader, options RestoreOptions, done *Restored) (backup.Head, error) {
	codec, err := backup.NewCodec()
	if err != nil {
		return backup.Head{}, err
	}
	defer codec.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := &restoring{router: r, ctx: ctx, codec: codec, options: options, done: done}
	in.loads, in.loading = errgroup.WithContext(ctx)
	err = backup.Read(from, in)
	if err == nil {
		err = in.flush()
	} else {
		cancel() // what is under way need not end well
	}
	if failed := in.loads.Wait(); err == nil || failed != nil && ctx.Err() == nil {
		err = errors.Join(err, failed)
	}
	if errors.Is(err, backup.ErrDamaged) {
		err = nba.Errorf(nba.CodeInvalid, "the backup cannot be restored: %w", err)
	}
	if err != nil {
		return in.head, err
	}
	return in.head, in.end()
}

// restoring takes the stream of a backup in.
type restoring struct {
	router  *Router
	ctx     context.Context //nolint:containedctx // of the one call that makes it
	loading context.Context //nolint:containedctx // ends with the first load that fails
	codec   *backup.Codec
	options RestoreOptions
	done    *Restored
	loads   *errgroup.Group

	head    backup.Head
	id      [16]byte
	targets []*target // data groups, then the control group
	same    bool      // as many data groups as the backup has
	group   *backup.Group
	sum     fsm.Summer // of the pairs of the group that is being read
	parts   []byte     // of the control state
	blob    []byte
}

// target is a group that is being filled.
type target struct {
	shard *shard
	sum   fsm.Summer
	pairs []byte
	room  chan struct{} // a token for each load under way
	// joined are values that several groups of the backup have a part in, by bucket and key.
	joined map[string][]byte
}

// Begin implements backup.Receiver: it opens all groups, the control group first, which keeps callers out.
func (in *restoring) Begin(head backup.Head) error {
	r := in.router
	in.head = head
	id, err := ulid.ParseStrict(head.ID)
	if err != nil {
		return fmt.Errorf("%w: it has no id", backup.ErrDamaged)
	}
	in.id = id
	features := &r.control.State().Features
	if err := features.Allows(command.RestoreBegun, 1); err != nil {
		return err
	}
	if command.Level(head.Level) > features.Level {
		return nba.Errorf(nba.CodeConflict, "the backup was made by a cluster of feature level %d, this one works at %d: run the release that made it, or a later one", head.Level, features.Level)
	}
	groups := r.groups()
	in.same = head.DataGroups == len(groups)
	for _, d := range groups {
		in.targets = append(in.targets, &target{shard: &d.shard, room: make(chan struct{}, loadsAtOnce), joined: map[string][]byte{}})
	}
	control := &target{shard: &r.control.shard, room: make(chan struct{}, loadsAtOnce)}
	in.targets = append(in.targets, control)
	if err := in.submit(in.ctx, control, &command.BeginRestore{Backup: in.id, Base: head.ControlBase}); err != nil {
		return err
	}
	begins, ctx := errgroup.WithContext(in.ctx)
	for _, t := range in.targets[:len(groups)] {
		begins.Go(func() error { return in.submit(ctx, t, &command.BeginRestore{Backup: in.id, Base: head.DataBase}) })
	}
	return begins.Wait()
}

// submit has a group apply an operation of the restore. All of them may be repeated.
func (in *restoring) submit(ctx context.Context, t *target, op interface {
	Append(dst []byte) ([]byte, error)
}) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	encoded, err := op.Append(nil)
	if err != nil {
		return err
	}
	for {
		var b command.Builder
		b.Reset(time.Now().UnixMilli())
		b.Add(encoded)
		results, err := t.shard.propose(ctx, b.Detach())
		if err == nil && len(results) == 1 {
			err = results[0].Err
		}
		switch nba.CodeOf(err) {
		case nba.CodeUnavailable, nba.CodeOverloaded, nba.CodeTimeout: // a leader was lost, or is busy
		default:
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// Group implements backup.Receiver.
func (in *restoring) Group(g backup.Group) error {
	if g.Same || g.Number < 0 || g.Number > in.head.DataGroups {
		return fmt.Errorf("%w: the stream is not whole", backup.ErrDamaged)
	}
	in.group, in.sum = &g, fsm.Summer{}
	return in.loading.Err()
}

// Blob implements backup.Receiver.
func (in *restoring) Blob(b backup.Blob) error {
	if b.Bytes > blob.MaxBytes {
		return fmt.Errorf("%w: an artifact of %d bytes", backup.ErrDamaged, b.Bytes)
	}
	in.group, in.blob = nil, make([]byte, 0, b.Bytes)
	return nil
}

// Chunk implements backup.Receiver.
func (in *restoring) Chunk(id backup.ID, compressed []byte) error {
	if compressed == nil {
		return fmt.Errorf("%w: the stream leaves a chunk out", backup.ErrDamaged)
	}
	chunk, err := in.codec.Open(id, compressed)
	if err != nil {
		return err
	}
	if in.group == nil {
		in.blob = append(in.blob, chunk...)
		return nil
	}
	return backup.Pairs(chunk, in.pair)
}

func (in *restoring) pair(bucket uint8, key, value []byte) error {
	b := store.Bucket(bucket)
	if b == store.Meta || int(b) >= store.Buckets {
		return nba.Errorf(nba.CodeConflict, "the backup holds a kind of state that this release does not know: run the release that made it, or a later one")
	}
	in.sum.Add(b, key, value)
	in.done.Pairs.Add(1)
	in.done.Bytes.Add(int64(len(key) + len(value)))
	if in.group.Number == controlGroup {
		return in.controlPair(b, key, value)
	}
	home, err := fsm.HomeOf(b, key)
	switch {
	case err == nil && home.Nowhere:
		in.done.Left.Add(1)
		return nil
	case in.same:
		return in.load(in.targets[in.group.Number-1], b, key, value)
	case errors.Is(err, fsm.ErrNoHome) && in.options.WithoutEvents:
		in.done.Left.Add(1)
		return nil
	case errors.Is(err, fsm.ErrNoHome):
		return nba.Errorf(nba.CodeConflict, "the backup has %d data groups and this cluster %d: found it with as many, or restore without kept events, dead letters, cursors of streams and how far campaigns are (--without-events)",
			in.head.DataGroups, len(in.targets)-1)
	case err != nil:
		return err
	case home.Everywhere:
		return in.everywhere(b, key, value, &home)
	case home.Subject != nil:
		return in.load(in.targets[groupOf(slotOfKey(home.Subject), len(in.targets)-1)], b, key, value)
	}
	slot, ok := SlotOfDecision(home.Decision.String())
	if !ok {
		return fmt.Errorf("%w: a decision has no id", backup.ErrDamaged)
	}
	return in.load(in.targets[groupOf(slot, len(in.targets)-1)], b, key, value)
}

// everywhere loads a pair into every group that has slots of the one it was in.
func (in *restoring) everywhere(b store.Bucket, key, value []byte, home *fsm.Home) error {
	groups := len(in.targets) - 1
	first, last := firstSlot(in.group.Number-1, in.head.DataGroups), firstSlot(in.group.Number, in.head.DataGroups)-1
	for i := groupOf(first, groups); i <= groupOf(last, groups); i++ {
		t := in.targets[i]
		at := string(append([]byte{byte(b)}, key...))
		switch {
		case home.Sum && len(value) == 8:
			total := binary.LittleEndian.Uint64(value)
			if had := t.joined[at]; had != nil {
				total += binary.LittleEndian.Uint64(had)
			}
			t.joined[at] = binary.LittleEndian.AppendUint64(nil, total)
			continue
		case home.Most:
			if had, ok := t.joined[at]; !ok || bytes.Compare(value, had) > 0 {
				t.joined[at] = bytes.Clone(value)
			}
			continue
		}
		if err := in.load(t, b, key, value); err != nil {
			return err
		}
	}
	return nil
}

// firstSlot is the first slot of a group, and one more than the last of the group before.
func firstSlot(group, groups int) int { return (group*Slots + groups - 1) / groups }

// controlPair loads a pair of the control group, or keeps it for the end.
func (in *restoring) controlPair(b store.Bucket, key, value []byte) error {
	control := in.targets[len(in.targets)-1]
	switch {
	case fsm.RestoredPart(b, key):
		in.parts = command.AppendPair(in.parts, uint8(b), key, value)
		return nil
	case fsm.ControlPart(b, key):
		in.done.Left.Add(1)
		return nil
	case b == store.Control:
		if _, _, ok := fsm.ParseVolumeKey(key); ok && len(value) > 0 && value[0] == '{' {
			var err error
			if value, err = spentBudget(value); err != nil {
				return err
			}
		}
	}
	return in.load(control, b, key, value)
}

// spentBudget takes as used what data groups hold of a volume: they begin with nothing.
func spentBudget(value []byte) ([]byte, error) {
	var budget contact.Budget
	if err := json.Unmarshal(value, &budget); err != nil {
		return nil, fmt.Errorf("%w: the budget of a volume cannot be read", backup.ErrDamaged)
	}
	const formerGroups = 1 << 40 // no group has this number
	spent := contact.Part{Group: formerGroups}
	for _, p := range budget.Parts {
		spent.Granted, spent.Returned = spent.Granted+p.Granted, spent.Returned+p.Returned
	}
	budget.Parts, budget.Wanted = nil, false
	if spent.Granted > 0 {
		budget.Parts = []contact.Part{spent}
	}
	raw, err := json.Marshal(&budget)
	if err != nil {
		return nil, fmt.Errorf("encoding the budget of a volume: %w", err)
	}
	return raw, nil
}

// load adds a pair to what a group is sent.
func (in *restoring) load(t *target, b store.Bucket, key, value []byte) error {
	t.sum.Add(b, key, value)
	if len(t.pairs) > 0 && len(t.pairs)+len(key)+len(value) > loadBytes {
		if err := in.send(t); err != nil {
			return err
		}
	}
	if t.pairs == nil {
		t.pairs = make([]byte, 0, loadBytes+4<<10)
	}
	t.pairs = command.AppendPair(t.pairs, uint8(b), key, value)
	return nil
}

// send hands what has gathered to the group, once few enough loads are under way.
func (in *restoring) send(t *target) error {
	if len(t.pairs) == 0 {
		return nil
	}
	op := &command.LoadPairs{Backup: in.id, Pairs: t.pairs}
	t.pairs = nil
	select {
	case t.room <- struct{}{}:
	case <-in.loading.Done():
		return in.loading.Err()
	}
	in.loads.Go(func() error {
		defer func() { <-t.room }()
		return in.submit(in.loading, t, op)
	})
	return nil
}

// flush hands over what is left.
func (in *restoring) flush() error {
	for _, t := range in.targets {
		for at, value := range t.joined {
			if err := in.load(t, store.Bucket(at[0]), []byte(at[1:]), value); err != nil {
				return err
			}
		}
		if err := in.send(t); err != nil {
			return err
		}
	}
	return nil
}

// GroupDone implements backup.Receiver.
func (in *restoring) GroupDone(g backup.Group) error {
	if digest := hex.EncodeToString(command.AppendDigest(nil, in.sum.Sum())); digest != g.Digest {
		return fmt.Errorf("%w: group %s has another digest than it had when it was backed up", backup.ErrDamaged, g.Name)
	}
	in.done.Groups.Add(1)
	return nil
}

// BlobDone implements backup.Receiver.
func (in *restoring) BlobDone(b backup.Blob) error {
	if blob.Digest(in.blob) != b.Digest {
		return fmt.Errorf("%w: an artifact has another digest than its name says", backup.ErrDamaged)
	}
	in.done.Blobs.Add(1)
	return in.options.Keep(in.ctx, b.Digest, in.blob)
}

// end closes all groups, the control group last: with it everything takes effect.
func (in *restoring) end() error {
	groups := len(in.targets) - 1
	if int(in.done.Groups.Load()) != in.head.DataGroups+1 {
		return nba.Errorf(nba.CodeInvalid, "the backup cannot be restored: groups are missing")
	}
	ends, ctx := errgroup.WithContext(in.ctx)
	for _, t := range in.targets[:groups] {
		ends.Go(func() error { return in.submit(ctx, t, &command.EndRestore{Backup: in.id, Digest: t.sum.Sum()}) })
	}
	if err := ends.Wait(); err != nil {
		return err
	}
	op := &command.EndRestore{Backup: in.id, Parts: in.parts}
	if len(in.parts) > command.MaxOpBytes-1<<10 {
		return nba.Errorf(nba.CodeTooLarge, "the catalog versions and plugins of the backup are too many to be restored together")
	}
	_, err := in.router.control.submit(in.ctx, op, true)
	return err
}

// Restoring is nil unless the cluster is being filled from a backup.
func (r *Router) Restoring() error {
	if r.control.machine.Restoring().Open {
		return nba.Errorf(nba.CodeUnavailable, "the cluster is being restored from a backup: wait until it is ready")
	}
	return nil
}
