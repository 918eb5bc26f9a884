package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func openStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"), store.Options{InitialMmapBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newData(t testing.TB) *Data {
	t.Helper()
	d, err := NewData(openStore(t))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

type operation interface {
	Append([]byte) ([]byte, error)
}

const testMS = 1_750_000_000_000

func entry(t testing.TB, index uint64, ops ...operation) *raft.Log {
	t.Helper()
	return entryAt(t, index, testMS, ops...)
}

func entryAt(t testing.TB, index uint64, proposedMS int64, ops ...operation) *raft.Log {
	t.Helper()
	var b command.Builder
	b.Reset(proposedMS)
	for _, op := range ops {
		encoded, err := op.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		b.Add(encoded)
	}
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: b.Detach()}
}

func keyed(t testing.TB, id, fingerprint byte, ttl uint64, op operation) *command.KeyedOp {
	t.Helper()
	encoded, err := op.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &command.KeyedOp{ID: [16]byte{id}, Fingerprint: [16]byte{fingerprint}, TTL: ttl, Op: encoded}
}

// do applies one operation as the next entry.
func do(t testing.TB, m interface {
	Apply(*raft.Log) any
	Position() Position
}, op operation) Result {
	t.Helper()
	answer := m.Apply(entry(t, m.Position().Index+1, op))
	results, ok := answer.(Results)
	if !ok || len(results) != 1 {
		t.Fatalf("got %T %v", answer, answer)
	}
	return results[0]
}

func key(id string) []byte {
	return command.AppendSubjectKey(nil, nba.SubjectRef{ID: id, Type: nba.Subscriber})
}

func rec(t testing.TB, granted, refused nba.PurposeSet, attrs ...record.Attr) []byte {
	t.Helper()
	b, err := record.Append(nil, attrs, granted, refused)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func attr(id nba.AttributeID, v int64) record.Attr { return record.Attr{ID: id, Value: nba.Int(v)} }

func read(t testing.TB, d *Data, id string) (string, bool) {
	t.Helper()
	r, err := d.Store().Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	stored := r.Get(store.Subjects, key(id))
	if stored == nil {
		return "", false
	}
	var rc record.Record
	if err := rc.Reset(nba.SubjectRef{}, stored); err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("v%d +%x -%x", rc.Version(), rc.Granted(), rc.Refused())
	for i := range rc.Len() {
		a := rc.At(i)
		out += fmt.Sprintf(" %d=%v", a.ID, a.Value.Any())
	}
	return out, true
}

func TestSubjectOperations(t *testing.T) {
	d := newData(t)
	p := func(hasIf bool, version uint64, merge bool, record []byte) *command.Put {
		return &command.Put{Key: key("a"), Record: record, HasIf: hasIf, IfVersion: version, Merge: merge}
	}
	patch := func(hasIf bool, version uint64, unset ...nba.AttributeID) *command.Patch {
		return &command.Patch{Key: key("a"), Set: rec(t, 0, 0, attr(9, 9)), Unset: unset, Grant: 8, Clear: 1, HasIf: hasIf, IfVersion: version}
	}
	for _, step := range []struct {
		name  string
		op    operation
		code  nba.Code
		after string // "" = not there
		count int64
	}{
		{"patch of nobody", patch(false, 0), nba.CodeSubjectUnknown, "", 0},
		{"delete of nobody", &command.Delete{Key: key("a")}, nba.CodeSubjectUnknown, "", 0},
		{"create, but another version is expected", p(true, 3, false, rec(t, 1, 2)), nba.CodePrecondition, "", 0},
		{"create if absent", p(true, 0, false, rec(t, 1, 2, attr(1, 10))), "", "v1 +1 -2 1=10", 1},
		{"create if absent again", p(true, 0, false, rec(t, 1, 2, attr(1, 11))), nba.CodePrecondition, "v1 +1 -2 1=10", 1},
		{"replace", p(false, 0, false, rec(t, 0, 0, attr(1, 12), attr(2, 20))), "", "v2 +0 -0 1=12 2=20", 1},
		{"replace with an old version", p(true, 1, false, rec(t, 0, 0)), nba.CodePrecondition, "v2 +0 -0 1=12 2=20", 1},
		{"replace with the present version", p(true, 2, false, rec(t, 1, 0, attr(1, 13), attr(2, 21))), "", "v3 +1 -0 1=13 2=21", 1},
		{"merge", p(false, 0, true, rec(t, 4, 1, attr(2, 22), attr(3, 30))), "", "v4 +4 -1 1=13 2=22 3=30", 1},
		{"merge of what is no record", p(false, 0, true, []byte("no record")), nba.CodeInvalid, "v4 +4 -1 1=13 2=22 3=30", 1},
		{"patch", patch(false, 0, 1, 2, 9), "", "v5 +c -0 3=30 9=9", 1},
		{"patch with an old version", patch(true, 4), nba.CodePrecondition, "v5 +c -0 3=30 9=9", 1},
		{"delete with an old version", &command.Delete{Key: key("a"), HasIf: true, IfVersion: 4}, nba.CodePrecondition, "v5 +c -0 3=30 9=9", 1},
		{"delete", &command.Delete{Key: key("a"), HasIf: true, IfVersion: 5}, "", "", 0},
		{"merge creates", p(false, 0, true, rec(t, 1, 0, attr(1, 1))), "", "v1 +1 -0 1=1", 1},
	} {
		result := do(t, d, step.op)
		after, _ := read(t, d, "a")
		if code := nba.CodeOf(result.Err); code != step.code || after != step.after || d.Subjects() != step.count {
			t.Errorf("%s: got %q %q, %d subjects, want %q %q, %d", step.name, code, after, d.Subjects(), step.code, step.after, step.count)
		}
	}
}

func TestMergeBeyondTheLimitIsRefused(t *testing.T) {
	d := newData(t)
	big := func(from nba.AttributeID) []byte {
		var attrs []record.Attr
		for i := range nba.AttributeID(40) {
			attrs = append(attrs, record.Attr{ID: from + i, Value: nba.String(string(make([]byte, nba.MaxStringBytes)))})
		}
		return rec(t, 0, 0, attrs...)
	}
	do(t, d, &command.Put{Key: key("a"), Record: big(0)})
	for name, op := range map[string]operation{
		"merge": &command.Put{Key: key("a"), Record: big(100), Merge: true},
		"patch": &command.Patch{Key: key("a"), Set: big(100)},
	} {
		if got := do(t, d, op); nba.CodeOf(got.Err) != nba.CodeTooLarge {
			t.Errorf("%s: got %v, want TOO_LARGE", name, got.Err)
		}
	}
}

func decisionID(n byte) string {
	id := ulid.ULID{0, 0, 0, 0, 0, n}
	return id.String()
}

func decision(n byte, subject string, actions ...string) *command.Decision {
	d := &command.Decision{
		ID: decisionID(n), Subject: nba.SubjectRef{ID: subject, Type: nba.Subscriber}, Time: time.UnixMilli(testMS + int64(n)), Channel: "web",
	}
	for i, a := range actions {
		d.Propositions = append(d.Propositions, command.Proposition{Placement: "hero", Rank: i + 1, Action: a, Treatment: a + "-web", Propensity: 0.5})
	}
	return d
}

func keys(t testing.TB, d *Data, b store.Bucket) int {
	t.Helper()
	r, err := d.Store().Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	n := 0
	r.Scan(b, nil, func(k, _ []byte) bool {
		if _, count := command.ParseSubjectKey(k); b != store.History || !count {
			n++
		}
		return true
	})
	return n
}

func TestDecisionsAndResponses(t *testing.T) {
	d := newData(t)
	for _, id := range []string{"a", "b"} {
		do(t, d, &command.Put{Key: key(id), Record: rec(t, 0, 0)})
	}
	respond := func(n byte, action string, outcome nba.Outcome) operation {
		return &command.Response{DecisionID: decisionID(n), Action: action, Outcome: outcome, Time: time.UnixMilli(testMS + 100)}
	}
	for _, step := range []struct {
		name               string
		op                 operation
		code               nba.Code
		duplicate          bool
		decisions, history int
	}{
		{"decision for nobody", decision(1, "nobody", "x"), nba.CodeSubjectUnknown, false, 0, 0},
		{"decision", decision(1, "a", "x", "y"), "", false, 1, 1},
		{"the same decision again", decision(1, "a", "x", "y"), "", true, 1, 1},
		{"its id for another subject", decision(1, "b", "x"), nba.CodeConflict, false, 1, 1},
		{"decision without propositions", decision(2, "b"), "", false, 2, 2},
		{"response", respond(1, "y", nba.Clicked), "", false, 2, 3},
		{"the same response", respond(1, "y", nba.Clicked), "", true, 2, 3},
		{"another outcome", respond(1, "y", nba.Accepted), "", false, 2, 4},
		{"another action", respond(1, "x", nba.Clicked), "", false, 2, 5},
		{"an action that was not proposed", respond(1, "z", nba.Clicked), nba.CodeActionUnknown, false, 2, 5},
		{"an unknown decision", respond(9, "x", nba.Clicked), nba.CodeDecisionUnknown, false, 2, 5},
		{"another subject is deleted", &command.Delete{Key: key("b")}, "", false, 1, 4},
		{"the subject is deleted", &command.Delete{Key: key("a")}, "", false, 0, 0},
		{"a response after that", respond(1, "y", nba.Converted), nba.CodeDecisionUnknown, false, 0, 0},
	} {
		result := do(t, d, step.op)
		decisions, history := keys(t, d, store.Decisions), keys(t, d, store.History)
		if nba.CodeOf(result.Err) != step.code || result.Duplicate != step.duplicate || decisions != step.decisions || history != step.history {
			t.Errorf("%s: got %q duplicate %v, %d decisions, %d history; want %q %v, %d, %d",
				step.name, nba.CodeOf(result.Err), result.Duplicate, decisions, history, step.code, step.duplicate, step.decisions, step.history)
		}
	}
}

// script is a long run of every operation, some of them refused.
func script(t testing.TB, n int) []*raft.Log { return scriptOf(t, n, 7) }

func scriptOf(t testing.TB, n int, seed uint64) []*raft.Log {
	random := rand.New(rand.NewPCG(seed, 7))
	var logs []*raft.Log
	subject := func() string { return fmt.Sprint("s", random.IntN(12)) }
	for i := range n {
		var ops []operation
		for range 1 + random.IntN(4) {
			id := subject()
			switch random.IntN(17) {
			case 0, 1:
				ops = append(ops, &command.Put{Key: key(id), Record: rec(t, 1, 2, attr(1, random.Int64()), attr(5, 3)), Merge: random.IntN(2) == 0})
			case 2:
				ops = append(ops, &command.Patch{Key: key(id), Set: rec(t, 0, 0, attr(7, random.Int64())), Unset: []nba.AttributeID{1}, Grant: 2})
			case 3:
				ops = append(ops, &command.Put{Key: key(id), Record: rec(t, 0, 0), HasIf: true, IfVersion: random.Uint64N(4)})
			case 4:
				if random.IntN(4) == 0 {
					ops = append(ops, &command.Delete{Key: key(id)})
				}
			case 5:
				made := decision(byte(random.IntN(100)), id, "x", "y")
				made.Keep = random.IntN(5)
				if random.IntN(2) == 0 {
					made.Claim, made.KeepContactsMS = new(contact.Claim), 30
					made.Claim.Add(0, contact.Place{Channel: 1, Action: 2, Side: contact.InboundSide}, 0, nil)
				}
				ops = append(ops, made)
			case 7:
				ops = append(ops, &command.Expire{BeforeMS: random.Int64N(20), KeysMS: testMS + random.Int64N(40), Limit: 1 + random.Uint32N(4)})
			case 8:
				ops = append(ops, keyed(t, byte(random.IntN(6)), byte(random.IntN(2)), random.Uint64N(50), decision(byte(random.IntN(100)), id, "x", "y")))
			case 9:
				ops = append(ops, keyed(t, byte(random.IntN(6)), 0, random.Uint64N(50), &command.Put{Key: key(id), Record: rec(t, 0, 0)}))
			case 10:
				ops = append(ops, &command.Mark{})
			case 15, 16:
				ops = append(ops, eventOperation(t, random, id))
			case 11, 12, 13, 14:
				ops = append(ops, contactOperation(random, id))
			case 6:
				ops = append(ops, &command.Response{
					DecisionID: decisionID(byte(random.IntN(100))), Action: "y", Outcome: nba.Outcomes[random.IntN(len(nba.Outcomes))],
					Time: time.UnixMilli(testMS + random.Int64N(1000)),
				})
			}
		}
		logs = append(logs, entryAt(t, uint64(i+2), testMS+int64(i), ops...))
	}
	return logs
}

func stateOf(t testing.TB, m interface{ Store() *store.Store }) []byte {
	t.Helper()
	s, err := m.Store().Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func answersOf(answers []any) string {
	out := ""
	for _, a := range answers {
		for _, r := range a.(Results) {
			out += fmt.Sprintf("%d %v %v %v %v %v %q\n", r.Version, r.Created, r.Duplicate, r.Replayed, r.Decision, r.Value, nba.CodeOf(r.Err))
		}
	}
	return out
}

// TestBatchesDoNotMatter: the state and the answers depend on the entries alone, not on how raft
// batches them, nor on restarts, snapshots and entries that come again.
func TestBatchesDoNotMatter(t *testing.T) {
	logs := scriptOf(t, 300, 1)
	single := newData(t)
	var wantAnswers []any
	for _, l := range logs {
		wantAnswers = append(wantAnswers, single.Apply(l))
	}
	want, wantText := stateOf(t, single), answersOf(wantAnswers)
	for _, b := range []store.Bucket{store.Subjects, store.Decisions, store.History, store.Idempotency, store.Due, store.Contacts, store.Events, store.Seen, store.Letters} {
		if keys(t, single, b) == 0 {
			t.Fatalf("the script leaves nothing in bucket %d: it tests nothing", b)
		}
	}
	for _, answer := range []string{"true", "CONFLICT", "IDEMPOTENCY_KEY_REUSED", "SUBJECT_UNKNOWN", "DECISION_UNKNOWN", " true}", "{0 1 false}"} {
		if !strings.Contains(wantText, answer) {
			t.Fatalf("the script never answers %s", answer)
		}
	}
	if err := single.Verify(); err != nil {
		t.Fatal(err)
	}
	if single.Digest().Digest == (Digest{}) || single.Mark().Index == 0 {
		t.Fatal("the digest did not follow, or was never marked")
	}
	same := func(t *testing.T, d *Data) {
		t.Helper()
		if !bytes.Equal(stateOf(t, d), want) || d.Subjects() != single.Subjects() {
			t.Error("the state differs")
		}
		if d.Digest() != single.Digest() || d.Mark() != single.Mark() {
			t.Errorf("the digest differs: %+v and %+v", d.Digest(), single.Digest())
		}
		if err := d.Verify(); err != nil {
			t.Error(err)
		}
	}

	t.Run("batched", func(t *testing.T) {
		d := newData(t)
		random := rand.New(rand.NewPCG(3, 3))
		var answers []any
		for rest := logs; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(64))
			answers = append(answers, d.ApplyBatch(rest[:n])...)
			rest = rest[n:]
		}
		if got := answersOf(answers); got != wantText {
			t.Error("the answers differ")
		}
		same(t, d)
	})
	t.Run("restarted and replayed", func(t *testing.T) {
		s := openStore(t)
		for at := 0; at < len(logs); at += 50 {
			d, err := NewData(s)
			if err != nil {
				t.Fatal(err)
			}
			d.ApplyBatch(logs[max(0, at-20) : at+50])
			if got := d.Position().Index; got != logs[at+49].Index {
				t.Fatalf("position %d, want %d", got, logs[at+49].Index)
			}
		}
		d, err := NewData(s)
		if err != nil {
			t.Fatal(err)
		}
		same(t, d)
	})
	t.Run("restored", func(t *testing.T) {
		half := newData(t)
		half.ApplyBatch(logs[:150])
		d := newData(t)
		d.ApplyBatch(logs[:20])
		if err := d.Restore(io.NopCloser(bytes.NewReader(stateOf(t, half)))); err != nil {
			t.Fatal(err)
		}
		if d.Position().Index != half.Position().Index || d.Subjects() != half.Subjects() {
			t.Fatalf("position %d with %d subjects, want %d with %d", d.Position().Index, d.Subjects(), half.Position().Index, half.Subjects())
		}
		d.ApplyBatch(logs[100:])
		same(t, d)
	})
}

func TestMachineStopsAtWhatItCannotApply(t *testing.T) {
	tooNew := entry(t, 3, &command.Delete{Key: key("a")})
	tooNew.Data[14] = 60 // the kind
	newerVersion := entry(t, 3, &command.Delete{Key: key("a")})
	newerVersion.Data[15] = 200
	control := entry(t, 3, &command.ActivateCatalog{Version: 1})
	malformed := &raft.Log{Index: 3, Type: raft.LogCommand, Data: []byte("malformed")}
	for name, bad := range map[string]*raft.Log{
		"a kind of a later release": tooNew, "a version of a later release": newerVersion, "an operation of the control group": control, "no entry": malformed,
	} {
		d := newData(t)
		good := entry(t, 2, &command.Put{Key: key("b"), Record: rec(t, 0, 0)})
		answers := d.ApplyBatch([]*raft.Log{good, bad})
		for i, a := range answers {
			if err, ok := a.(error); !ok || !errors.Is(err, ErrStopped) {
				t.Errorf("%s: answer %d is %v, want ErrStopped", name, i, a)
			}
		}
		if d.Position().Index != 0 || d.Err() == nil {
			t.Errorf("%s: position %d, %v", name, d.Position().Index, d.Err())
		}
		if _, there := read(t, d, "b"); there {
			t.Errorf("%s: half of the batch was applied", name)
		}
		if _, ok := d.Apply(entry(t, 4, &command.Put{Key: key("b"), Record: rec(t, 0, 0)})).(error); !ok {
			t.Errorf("%s: the machine went on", name)
		}
		if _, err := d.Snapshot(); err == nil {
			t.Errorf("%s: a stopped machine gave a snapshot", name)
		}
	}
}

func TestConfigurationIsKept(t *testing.T) {
	s := openStore(t)
	d, err := NewData(s)
	if err != nil {
		t.Fatal(err)
	}
	d.ApplyBatch([]*raft.Log{{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte("voters")}, entry(t, 2, &command.Delete{Key: key("a")})})
	if d, err = NewData(s); err != nil {
		t.Fatal(err)
	}
	got := d.Position()
	if got.Index != 2 || got.Term != 1 || got.ConfigurationIndex != 1 || string(got.Configuration) != "voters" {
		t.Errorf("got %+v", got)
	}
}

func TestHistoryKeyOrder(t *testing.T) {
	var before []byte
	for _, h := range []HistoryKey{
		{TimeMS: -5}, {TimeMS: 0}, {TimeMS: 7, Kind: HistoryDecision},
		{TimeMS: 7, Kind: HistoryResponse, Position: 1, Outcome: 2}, {TimeMS: 7, Kind: HistoryResponse, Position: 300, Outcome: 0},
		{TimeMS: 7, Decision: ulid.ULID{1}}, {TimeMS: 8},
	} {
		k := AppendHistoryKey(nil, key("a"), h)
		if bytes.Compare(before, k) >= 0 {
			t.Errorf("%+v is not after the one before it", h)
		}
		if got, ok := ParseHistoryKey(k, len(key("a"))); !ok || got != h {
			t.Errorf("got %+v %v, want %+v", got, ok, h)
		}
		before = k
	}
}

func FuzzDecisionEntry(f *testing.F) {
	encoded, err := decision(1, "a", "x", "y").Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	var p command.Recorded
	if err := p.Decode(encoded[6:], 2); err != nil {
		f.Fatal(err)
	}
	f.Add(appendDecisionEntry(nil, &p))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := OpenDecisionEntry(b)
		if err != nil {
			return
		}
		if at, err := e.find("y"); err == nil && at >= len(e.Outcomes) {
			t.Fatalf("position %d of %d", at, len(e.Outcomes))
		}
	})
}

// FuzzBatches applies a random run of operations one by one and in random batches, with restarts between:
// answers, bytes and digests are the same, and the digest is that of the bytes.
func FuzzBatches(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(seed, []byte{1, 5, 60, 0, 3, 200})
	}
	f.Fuzz(func(t *testing.T, seed uint64, sizes []byte) {
		logs := scriptOf(t, 80, seed)
		single, s := newData(t), openStore(t)
		var want, got []any
		for _, l := range logs {
			want = append(want, single.Apply(l))
		}
		d, err := NewData(s)
		if err != nil {
			t.Fatal(err)
		}
		for rest, i := logs, 0; len(rest) > 0; i++ {
			n := 1
			if i < len(sizes) {
				n = int(sizes[i])
			}
			if n == 0 { // a restart
				if d, err = NewData(s); err != nil {
					t.Fatal(err)
				}
				continue
			}
			n = min(n, len(rest))
			got = append(got, d.ApplyBatch(rest[:n])...)
			rest = rest[n:]
		}
		if err := errors.Join(single.Err(), d.Err(), d.Verify()); err != nil {
			t.Fatal(err)
		}
		if answersOf(got) != answersOf(want) || d.Digest() != single.Digest() || d.Mark() != single.Mark() || !bytes.Equal(stateOf(t, d), stateOf(t, single)) {
			t.Errorf("seed %d, batches %v: the replicas differ", seed, sizes)
		}
	})
}
