package router

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Reading is a subject on loan, as of one commit. It implements nba.Subject, and is used by one
// goroutine until Release; strings of its attributes must be copied to be kept longer.
type Reading struct {
	record.Record
	router *Router
	reader *store.Reader
	stored []byte
}

// Stored are the bytes of the record, which are the reading's.
func (r *Reading) Stored() []byte { return r.stored }

// Contacts is what the subject was contacted with. It shares the reading's memory.
func (r *Reading) Contacts() (contact.Ledger, error) {
	ledger := contact.Ledger(r.reader.Get(store.Contacts, command.AppendSubjectKey(nil, r.Ref())))
	if err := ledger.Check(); err != nil {
		return nil, err
	}
	return ledger, nil
}

// Release gives the subject back. It must not be used afterwards.
func (r *Reading) Release() {
	reader, router := r.reader, r.router
	r.reader, r.stored, r.Record = nil, nil, record.Record{}
	router.readings.Put(r)
	reader.Release()
}

func errUnknownSubject() error {
	return nba.Errorf(nba.CodeSubjectUnknown, "no such subject: store it first with PUT /v1/subjects or an import")
}

// Acquire lends the subject, with every write in it that was acknowledged before the call, from the
// replica here, which must lead the subject's group. The caller must release it soon. An unknown
// subject is an *nba.Error with CodeSubjectUnknown.
func (r *Router) Acquire(ref nba.SubjectRef) (*Reading, error) {
	ref, err := ref.Normalize()
	if err != nil {
		return nil, err
	}
	d := r.byRef(ref)
	if err := d.readable(); err != nil {
		return nil, err
	}
	return r.lend(d, ref)
}

// AcquireRead is Acquire with the currency that read asks for, which is normalized. It reads the
// replica here and tells how old that may be. The error wraps a NotLeader where another node answers;
// see AtReader.
func (r *Router) AcquireRead(ctx context.Context, ref nba.SubjectRef, read nba.Read) (*Reading, time.Duration, error) {
	ref, err := ref.Normalize()
	if err != nil {
		return nil, 0, err
	}
	d := r.byRef(ref)
	age, err := d.current(ctx, read)
	if err != nil {
		return nil, 0, err
	}
	reading, err := r.lend(d, ref)
	return reading, age, err
}

func (r *Router) lend(d *dataGroup, ref nba.SubjectRef) (*Reading, error) {
	reader, err := d.machine.Store().Acquire()
	if err != nil {
		return nil, storeError(err)
	}
	reader.Key = command.AppendSubjectKey(reader.Key[:0], ref)
	stored := reader.Get(store.Subjects, reader.Key)
	if stored == nil {
		reader.Release()
		return nil, errUnknownSubject()
	}
	reading := r.readings.Get().(*Reading)
	if err := reading.Reset(ref, stored); err != nil {
		r.readings.Put(reading)
		reader.Release()
		return nil, err
	}
	reading.reader, reading.stored = reader, stored
	return reading, nil
}

func storeError(err error) error {
	if errors.Is(err, store.ErrClosed) {
		// Others keep the group: whoever asked goes on there, as if it had another leader.
		return nba.Errorf(nba.CodeUnavailable, "the node is shutting down, or keeps the group no more: retry shortly (%w)", &raftgroup.NotLeader{})
	}
	return err
}

// View calls fn with the subject, which fn must not keep; see Acquire.
func (r *Router) View(ref nba.SubjectRef, fn func(nba.Subject) error) error {
	reading, err := r.Acquire(ref)
	if err != nil {
		return err
	}
	defer reading.Release()
	return fn(reading)
}

// PutSubject stores a whole subject. attrs may be in any order, which it changes. ifVersion, if not
// nil, must be the present version, 0 for a subject that must not exist; otherwise the error has
// CodePrecondition.
func (r *Router) PutSubject(ctx context.Context, ref nba.SubjectRef, attrs []record.Attr, granted, refused nba.PurposeSet,
	ifVersion *uint64) (version uint64, created bool, err error) {
	return r.PutExtended(ctx, ref, attrs, granted, refused, nil, ifVersion)
}

// PutExtended is PutSubject with consents that purpose sets cannot hold; nil names none. What a put says of
// consents is taken as record.Replacing tells.
func (r *Router) PutExtended(ctx context.Context, ref nba.SubjectRef, attrs []record.Attr, granted, refused nba.PurposeSet,
	consents record.Consents, ifVersion *uint64) (version uint64, created bool, err error) {
	if ref, err = ref.Normalize(); err != nil {
		return 0, false, err
	}
	encoded, err := encode(attrs, granted, refused, consents)
	if err != nil {
		return 0, false, err
	}
	put := command.Put{Key: command.AppendSubjectKey(nil, ref), Record: encoded}
	put.IfVersion, put.HasIf = condition(ifVersion)
	result, err := r.write(ctx, &r.byRef(ref).shard, &put, put.Key, false)
	return result.Version, result.Created, err
}

func condition(ifVersion *uint64) (version uint64, has bool) {
	if ifVersion == nil {
		return 0, false
	}
	return *ifVersion, true
}

func encode(attrs []record.Attr, granted, refused nba.PurposeSet, consents record.Consents) ([]byte, error) {
	encoded, err := record.AppendExtended(nil, record.Sort(attrs), granted, refused, consents)
	if errors.Is(err, record.ErrConsents) {
		return nil, nba.Errorf(nba.CodeTooLarge, "a subject has consents to at most %d channels", nba.MaxChannelConsents)
	}
	if errors.Is(err, record.ErrTooLarge) {
		return nil, nba.Errorf(nba.CodeTooLarge, "the attributes of the subject take more than %d bytes", record.MaxDataBytes)
	}
	if err != nil {
		return nil, nba.Errorf(nba.CodeInvalid, "the subject cannot be stored: %w", err)
	}
	return encoded, nil
}

// PatchSubject changes part of a subject that exists: it sets and unsets attributes, which may be in
// any order, and clears, refuses and grants consents, in this order. An id in both set and unset is
// set. ifVersion is as for PutSubject.
func (r *Router) PatchSubject(ctx context.Context, ref nba.SubjectRef, set []record.Attr, unset []nba.AttributeID,
	grant, refuse, clear nba.PurposeSet, ifVersion *uint64) (version uint64, err error) {
	return r.ChangeSubject(ctx, ref, SubjectChange{Set: set, Unset: unset, Grant: grant, Refuse: refuse, Clear: clear}, ifVersion)
}

// SubjectChange is what ChangeSubject does, in this order: it forgets all consents if told, then clears,
// refuses and grants purposes; Consents are those that purpose sets cannot hold, as record.MakeConsents
// made them, where nba.Unanswered removes; nil names none.
type SubjectChange struct {
	Set                  []record.Attr
	Unset                []nba.AttributeID
	Forget               bool
	Clear, Refuse, Grant nba.PurposeSet
	Consents             record.Consents
}

// ChangeSubject changes part of a subject that exists. Attributes may be in any order, which it changes;
// an id in both Set and Unset is set. ifVersion is as for PutSubject.
func (r *Router) ChangeSubject(ctx context.Context, ref nba.SubjectRef, change SubjectChange, ifVersion *uint64) (version uint64, err error) {
	if ref, err = ref.Normalize(); err != nil {
		return 0, err
	}
	encoded, err := encode(change.Set, 0, 0, change.Consents)
	if err != nil {
		return 0, err
	}
	slices.Sort(change.Unset)
	patch := command.Patch{
		Key: command.AppendSubjectKey(nil, ref), Set: encoded, Unset: slices.Compact(change.Unset),
		Grant: change.Grant, Refuse: change.Refuse, Clear: change.Clear, Forget: change.Forget,
	}
	patch.IfVersion, patch.HasIf = condition(ifVersion)
	result, err := r.write(ctx, &r.byRef(ref).shard, &patch, patch.Key, false)
	return result.Version, err
}

// DeleteSubject erases a subject with its history and its decisions. ifVersion is as for PutSubject.
func (r *Router) DeleteSubject(ctx context.Context, ref nba.SubjectRef, ifVersion *uint64) error {
	ref, err := ref.Normalize()
	if err != nil {
		return err
	}
	features := &r.control.State().Features
	erase := command.Delete{Key: command.AppendSubjectKey(nil, ref), Note: features.Allows(command.SubjectDelete, command.NotingVersion) == nil}
	erase.IfVersion, erase.HasIf = condition(ifVersion)
	_, err = r.write(ctx, &r.byRef(ref).shard, &erase, erase.Key, false)
	return err
}

// SubjectWrite is one subject of an Import.
type SubjectWrite struct {
	Ref nba.SubjectRef
	// Record is an encoded record, as record.Append made it; its version does not matter.
	Record []byte
	// Merge leaves the attributes and consents of an existing subject that Record does not name.
	Merge bool
}

// Import stores many subjects and returns when all are durable. Where a subject occurs twice, the
// later write follows the earlier. A write that is refused makes the error an *nba.Error whose
// details point at it, as /i in batch; the others are stored. Any other error leaves open which are.
func (r *Router) Import(ctx context.Context, batch []SubjectWrite) error {
	shares := make([][]keyed, len(r.groups()))
	keys := make([]byte, 0, len(batch)*24)
	for i := range batch {
		ref, err := batch[i].Ref.Normalize()
		if err == nil && record.IsExtended(batch[i].Record) {
			put := command.Put{Record: batch[i].Record}
			err = r.allowed(&put)
		}
		if err != nil {
			return importError(i, err)
		}
		at := len(keys)
		keys = command.AppendSubjectKey(keys, ref)
		key := keys[at:len(keys):len(keys)]
		g := groupOf(slotOfKey(key), len(r.groups()))
		if shares[g] == nil {
			shares[g] = make([]keyed, 0, len(batch)/len(r.groups())+16)
		}
		shares[g] = append(shares[g], keyed{key, i})
	}
	var groups errgroup.Group
	refused := make([][]refusal, len(r.groups()))
	for g, share := range shares {
		if len(share) > 0 {
			groups.Go(func() (err error) {
				refused[g], err = r.importShare(ctx, r.groups()[g], share, batch)
				return err
			})
		}
	}
	if err := groups.Wait(); err != nil {
		return err
	}
	return refusals(slices.Concat(refused...))
}

type keyed struct {
	key   []byte
	index int // in the batch
}

type refusal struct {
	index int
	err   error
}

func importError(i int, err error) error { return refusals([]refusal{{i, err}}) }

func refusals(list []refusal) error {
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b refusal) int { return a.index - b.index })
	out := nba.Errorf(nba.CodeOf(list[0].err), "%d of the subjects were refused", len(list))
	for _, f := range list {
		detail := "the subject could not be stored"
		if e, ok := errors.AsType[*nba.Error](f.err); ok {
			detail = e.Message
		}
		out.Details = append(out.Details, nba.Detail{Pointer: "/" + strconv.Itoa(f.index), Code: nba.CodeOf(f.err), Detail: detail})
	}
	return out
}

// smallShare is how many writes of an import go to the log together with those of other callers. An
// entry of their own would cost each group as much as one of hundreds.
const smallShare = 64

// importTogether is importShare for few writes.
func importTogether(ctx context.Context, d *dataGroup, share []keyed, batch []SubjectWrite) ([]refusal, error) {
	ops := make([][]byte, len(share))
	for i := range share {
		w := &batch[share[i].index]
		put := command.Put{Key: share[i].key, Record: w.Record, Merge: w.Merge}
		var err error
		if ops[i], err = put.Append(make([]byte, 0, put.Size())); err != nil {
			return nil, err
		}
	}
	answers, err := d.submitAll(ctx, ops)
	if err != nil {
		return nil, err
	}
	var refused []refusal
	for i, answer := range answers {
		switch nba.CodeOf(answer.Err) {
		case "":
		case nba.CodeUnavailable, nba.CodeOverloaded, nba.CodeTimeout, nba.CodeInternal:
			return nil, answer.Err // of the moment, not of this write
		default:
			refused = append(refused, refusal{share[i].index, answer.Err})
		}
	}
	return refused, nil
}

// importShare writes the share of one group in large entries. Each entry holds a range of keys, so
// that applying it touches neighbouring pages; the writes to one key keep their order, and those of
// one entry, since entries with equal keys at their border are proposed one after the other.
func (r *Router) importShare(ctx context.Context, d *dataGroup, share []keyed, batch []SubjectWrite) ([]refusal, error) {
	slices.SortStableFunc(share, func(a, b keyed) int { return bytes.Compare(a.key, b.key) })
	if len(share) <= smallShare {
		return importTogether(ctx, d, share, batch)
	}
	var refused []refusal
	var entry command.Builder
	begin := 0
	entry.Reset(time.Now().UnixMilli())
	flush := func(end int) error {
		results, err := d.propose(ctx, entry.Bytes())
		if err != nil {
			return err
		}
		for i, result := range results {
			if result.Err != nil {
				refused = append(refused, refusal{share[begin+i].index, result.Err})
			}
		}
		begin = end
		entry.Reset(time.Now().UnixMilli())
		return nil
	}
	for i := range share {
		w := &batch[share[i].index]
		put := command.Put{Key: share[i].key, Record: w.Record, Merge: w.Merge}
		if entry.Len() > 0 && (entry.Size()+put.Size() > r.options.BulkBytes || entry.Len() == command.MaxOps) {
			if err := flush(i); err != nil {
				return refused, err
			}
		}
		entry.AddPut(&put)
	}
	return refused, flush(len(share))
}
