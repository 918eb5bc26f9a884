package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/arbiterhq/arbiter/cluster/blob"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirEnv); dir != "" {
		os.Exit(childMain(dir, os.Getenv(childSeedEnv)))
	}
	if dir := os.Getenv(childFillEnv); dir != "" {
		os.Exit(fillMain(dir))
	}
	goleak.VerifyTestMain(m)
}

func openTest(t testing.TB, dir string, change func(*Options)) *Router {
	t.Helper()
	o := Options{Dir: dir, DataGroups: 2, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if change != nil {
		change(&o)
	}
	r, err := Open(context.Background(), o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { closeTest(t, r) })
	return r
}

func closeTest(t testing.TB, r *Router) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func ref(id string) nba.SubjectRef { return nba.SubjectRef{ID: id} }

func attr(id nba.AttributeID, v int64) record.Attr { return record.Attr{ID: id, Value: nba.Int(v)} }

func uptr(v uint64) *uint64 { return &v }

func show(t testing.TB, r *Router, id string) string {
	t.Helper()
	out := ""
	err := r.View(ref(id), func(s nba.Subject) error {
		reading := s.(*Reading)
		out = fmt.Sprintf("%s v%d +%x -%x", reading.Ref().Type, reading.Version(), reading.Granted(), reading.Refused())
		for i := range reading.Len() {
			a := reading.At(i)
			out += fmt.Sprintf(" %d=%v", a.ID, a.Value.Any())
		}
		return nil
	})
	if err != nil {
		return string(nba.CodeOf(err))
	}
	return out
}

func TestSubjectsSurviveRestarts(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	r := openTest(t, dir, nil)
	version, created, err := r.PutSubject(ctx, ref("a"), []record.Attr{attr(5, 50), attr(1, 10)}, 1, 2, nil)
	if version != 1 || !created || err != nil {
		t.Fatalf("PutSubject: %d %v %v", version, created, err)
	}
	if _, _, err := r.PutSubject(ctx, ref("a"), nil, 0, 0, uptr(0)); nba.CodeOf(err) != nba.CodePrecondition {
		t.Errorf("creating it again: %v", err)
	}
	version, err = r.PatchSubject(ctx, ref("a"), []record.Attr{attr(7, 70), attr(6, 60)}, []nba.AttributeID{5, 1, 5}, 4, 0, 1, uptr(1))
	if version != 2 || err != nil {
		t.Fatalf("PatchSubject: %d %v", version, err)
	}
	if _, err := r.PatchSubject(ctx, ref("nobody"), nil, nil, 0, 0, 0, nil); nba.CodeOf(err) != nba.CodeSubjectUnknown {
		t.Errorf("patching nobody: %v", err)
	}
	if _, _, err := r.PutSubject(ctx, ref("b"), nil, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteSubject(ctx, ref("b"), nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.PutSubject(ctx, ref(""), nil, 0, 0, nil); nba.CodeOf(err) != nba.CodeInvalid {
		t.Errorf("no id: %v", err)
	}
	for _, when := range []string{"before the restart", "after it", "after two"} {
		if got, want := show(t, r, "a"), "subscriber v2 +4 -2 6=60 7=70"; got != want {
			t.Errorf("%s: got %s, want %s", when, got, want)
		}
		if got := show(t, r, "b"); got != string(nba.CodeSubjectUnknown) {
			t.Errorf("%s: the deleted subject is %s", when, got)
		}
		if r.Subjects() != 1 || r.Ready() != nil {
			t.Errorf("%s: %d subjects, ready %v", when, r.Subjects(), r.Ready())
		}
		closeTest(t, r)
		if err := r.Ready(); nba.CodeOf(err) != nba.CodeUnavailable {
			t.Errorf("closed: ready %v", err)
		}
		if _, _, err := r.PutSubject(ctx, ref("c"), nil, 0, 0, nil); nba.CodeOf(err) != nba.CodeUnavailable {
			t.Errorf("closed: PutSubject %v", err)
		}
		if got := show(t, r, "a"); got != string(nba.CodeUnavailable) {
			t.Errorf("closed: View gives %s", got)
		}
		r = openTest(t, dir, nil)
	}
}

func TestFolderIsOpenedOnce(t *testing.T) {
	dir := t.TempDir()
	openTest(t, dir, nil)
	if _, err := Open(context.Background(), Options{Dir: dir}); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("got %v, want CONFLICT", err)
	}
}

func TestImport(t *testing.T) {
	r := openTest(t, t.TempDir(), func(o *Options) { o.BulkBytes = 4 << 10 })
	ctx := context.Background()
	const n = 3000
	if err := r.Import(ctx, testWrites(0, n)); err != nil {
		t.Fatal(err)
	}
	if r.Subjects() != n {
		t.Errorf("%d subjects, want %d", r.Subjects(), n)
	}
	for i := range n {
		want := testAttrs(i)
		err := r.View(testRef(i), func(s nba.Subject) error {
			for _, a := range want {
				if got, ok := s.Attribute(a.ID); !ok || got != a.Value {
					return fmt.Errorf("attribute %d differs", a.ID)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatalf("subject %d: %v", i, err)
		}
	}
	encode := func(attrs ...record.Attr) []byte {
		b, err := record.Append(nil, attrs, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// The later of two writes of one subject follows the earlier, wherever entries end.
	var twice []SubjectWrite
	for range 500 {
		twice = append(twice, SubjectWrite{Ref: ref("twice"), Record: encode(attr(1, int64(len(twice))))})
	}
	twice = append(twice, SubjectWrite{Ref: ref("twice"), Record: encode(attr(2, 2)), Merge: true})
	if err := r.Import(ctx, twice); err != nil {
		t.Fatal(err)
	}
	if got, want := show(t, r, "twice"), "subscriber v501 +0 -0 1=499 2=2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	err := r.Import(ctx, []SubjectWrite{
		{Ref: ref("good-1"), Record: encode()}, {Ref: ref("bad-1"), Record: []byte("no record")}, {Ref: ref("good-2"), Record: encode()}, {Ref: ref("bad-2")},
	})
	e, ok := errors.AsType[*nba.Error](err)
	if !ok || len(e.Details) != 2 || e.Details[0].Pointer != "/1" || e.Details[1].Pointer != "/3" || strings.Contains(e.Error(), "bad-") {
		t.Errorf("got %+v", err)
	}
	for _, id := range []string{"good-1", "good-2"} {
		if got := show(t, r, id); got != "subscriber v1 +0 -0" {
			t.Errorf("%s is %s", id, got)
		}
	}
	if err := r.Import(ctx, []SubjectWrite{{Ref: ref("")}}); nba.CodeOf(err) != nba.CodeInvalid {
		t.Errorf("no id: %v", err)
	}
	if err := r.Import(ctx, nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

// TestAcknowledgedWritesAreRead hammers a few subjects: a read that begins after a write was
// acknowledged sees it or a later one. Decisions are recorded and snapshots taken meanwhile.
func TestAcknowledgedWritesAreRead(t *testing.T) {
	r := openTest(t, t.TempDir(), nil)
	start := time.Now()
	ctx := context.Background()
	rounds := 150
	if testing.Short() {
		rounds = 40
	}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			id := fmt.Sprint("w", w%8)
			s := nba.SubjectRef{ID: id, Type: nba.Subscriber}
			for i := range rounds {
				version, _, err := r.PutSubject(ctx, ref(id), []record.Attr{attr(1, int64(i))}, 0, 0, nil)
				if err != nil {
					t.Error(err)
					return
				}
				reading, err := r.Acquire(s)
				if err != nil {
					t.Error(err)
					return
				}
				got := reading.Version()
				reading.Release()
				if got < version {
					t.Errorf("read version %d after %d was acknowledged", got, version)
				}
				if err := r.RecordDecision(ctx, testDecision(s, start.Add(time.Duration(i)*time.Millisecond))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		if err := r.Snapshot(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	for w := range 8 {
		reading, err := r.Acquire(ref(fmt.Sprint("w", w)))
		if err != nil {
			t.Fatal(err)
		}
		if got := reading.Version(); got != uint64(2*rounds) {
			t.Errorf("subject %d is at version %d, want %d", w, got, 2*rounds)
		}
		reading.Release()
		items, next, _, err := r.History(context.Background(), ref(fmt.Sprint("w", w)), nba.Read{}, 1000, "")
		if err != nil || len(items) != min(1000, 6*rounds) || (next != "") != (6*rounds > 1000) {
			t.Errorf("subject %d has %d interactions, %v", w, len(items), err)
		}
	}
}

func TestControl(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	var mu sync.Mutex
	var announced []uint64
	withHook := func(o *Options) {
		o.OnControl = func(s *fsm.ControlState) {
			mu.Lock()
			defer mu.Unlock()
			announced = append(announced, s.Index)
		}
	}
	r := openTest(t, dir, withHook)
	c := r.Control()
	if err := c.DeclareAttributes(ctx, []nba.AttributeDeclaration{{Name: "partner", Type: nba.KindBool}}); err != nil {
		t.Fatal(err)
	}
	if err := c.DeclareAttributes(ctx, []nba.AttributeDeclaration{{Name: "1partner", Type: nba.KindBool}}); nba.CodeOf(err) != nba.CodeInvalid {
		t.Errorf("a bad name: %v", err)
	}
	version, err := c.StoreCatalog(ctx, "demo", "sha256:1", []byte("doc"), uptr(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.StoreCatalog(ctx, "demo", "sha256:2", []byte("doc 2"), uptr(0)); nba.CodeOf(err) != nba.CodePrecondition {
		t.Errorf("an old If-Match: %v", err)
	}
	catalogVersion, err := c.ActivateCatalog(ctx, version, "first")
	if err != nil || catalogVersion <= version {
		t.Fatalf("activated version %d as %d, %v", version, catalogVersion, err)
	}
	module := []byte("module")
	plugin := nba.PluginVersion{Name: "churn", Version: "1.0.0", Digest: blob.Digest(module)}
	if err := c.StagePlugin(ctx, plugin); err == nil {
		t.Error("a plugin without a module was staged")
	}
	if err := r.Blobs().Put(plugin.Digest, module); err != nil {
		t.Fatal(err)
	}
	if err := c.StagePlugin(ctx, plugin); err != nil {
		t.Fatal(err)
	}
	if err := c.ActivatePlugin(ctx, "churn", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if n := len(announced); n == 0 || announced[n-1] != c.State().Index {
		t.Errorf("announced %v, the state is at %d", announced, c.State().Index)
	}
	mu.Unlock()
	for range 2 {
		state := r.Control().State()
		document, ok, err := r.Control().Document(version)
		_, known := state.Dictionary.Attribute("partner")
		if !known || state.Catalog.Active != version || state.Catalog.CatalogVersion != catalogVersion || !ok || err != nil ||
			string(document) != "doc" || state.Plugins.Active()["churn"] != plugin.Digest {
			t.Errorf("got %+v, document %s %v", state, document, err)
		}
		closeTest(t, r)
		r = openTest(t, dir, withHook)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	r := openTest(t, t.TempDir(), func(o *Options) { o.Metrics = raftgroup.NewMetrics(registry) })
	if _, _, err := r.PutSubject(context.Background(), ref("a"), nil, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	subjects := 0.0
	names := ""
	for _, f := range families {
		names += f.GetName() + " "
		if f.GetName() == "arbiter_group_subjects" {
			for _, m := range f.GetMetric() {
				subjects += m.GetGauge().GetValue()
			}
		}
	}
	if subjects != 1 || !strings.Contains(names, "arbiter_group_apply_seconds") || !strings.Contains(names, "arbiter_group_queue_depth") {
		t.Errorf("%v subjects; metrics %s", subjects, names)
	}
}

// TestStartIsFast: a start neither replays the log nor reads the state, however large they are.
func TestStartIsFast(t *testing.T) {
	if testing.Short() {
		t.Skip("imports 100,000 subjects")
	}
	dir := t.TempDir()
	r := openTest(t, dir, nil)
	const n = 100_000
	for at := 0; at < n; at += 10_000 {
		if err := r.Import(context.Background(), testWrites(at, 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	closeTest(t, r)
	start := time.Now()
	r = openTest(t, dir, nil)
	took := time.Since(start)
	t.Logf("opened with %d subjects in %s", r.Subjects(), took)
	if took > 2*time.Second || r.Subjects() != n {
		t.Errorf("opening with %d subjects took %s", r.Subjects(), took)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if err := (Options{Dir: "x"}).Default().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	bad := Options{DataGroups: 65, BulkBytes: 1, MaxHistory: -1}.Default()
	bad.Group.SegmentBytes = 1
	err := bad.Validate()
	for _, want := range []string{"data folder", "65 data groups", "BulkBytes", "MaxHistory", "SegmentBytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not mentioned in %v", want, err)
		}
	}
	if _, err := Open(context.Background(), Options{}); err == nil {
		t.Error("opened without a folder")
	}
}
