package router

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/blob"
	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// openCluster opens several routers of one cluster within this process, and waits until all are ready.
func openCluster(t testing.TB, nodes, groups int) []*Router {
	t.Helper()
	addresses, listeners := map[string]string{}, map[string]net.Listener{}
	var ids []string
	for i := range nodes {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("n%d", i+1)
		ids = append(ids, id)
		addresses[id], listeners[id] = ln.Addr().String(), ln
	}
	var cluster []*Router
	dir := t.TempDir()
	for _, id := range ids {
		cluster = append(cluster, openTest(t, filepath.Join(dir, id), func(o *Options) {
			o.DataGroups = groups
			o.Cluster = &Cluster{NodeID: id, Nodes: addresses, Listener: listeners[id]}
			o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
		}))
	}
	for _, r := range cluster {
		awaitReady(t, r)
	}
	return cluster
}

func awaitReady(t testing.TB, r *Router) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = r.Ready(); err == nil {
			return
		}
	}
	t.Fatalf("%s is not ready: %v", r.NodeID(), err)
}

// TestEveryNodeTakesEveryOperation runs each kind of operation through each node of a cluster.
func TestEveryNodeTakesEveryOperation(t *testing.T) {
	cluster := openCluster(t, 3, 4)
	ctx := t.Context()
	for i, r := range cluster {
		attribute := fmt.Sprintf("a%d", i)
		if err := r.Control().DeclareAttributes(ctx, []nba.AttributeDeclaration{{Name: attribute, Type: nba.KindInt}}); err != nil {
			t.Fatal(err)
		}
		if _, ok := r.Control().State().Dictionary.Attribute(attribute); !ok {
			t.Errorf("%s does not see what was declared through it", r.NodeID())
		}
		for n := range 20 {
			who := ref(fmt.Sprintf("s-%d-%d", i, n))
			version, created, err := r.PutSubject(ctx, who, []record.Attr{attr(0, 7)}, 0, 0, nil)
			if err != nil || version != 1 || !created {
				t.Fatalf("put: version %d, created %v, %v", version, created, err)
			}
			if _, _, err := r.PutSubject(ctx, who, nil, 0, 0, uptr(9)); nba.CodeOf(err) != nba.CodePrecondition {
				t.Errorf("put under another version: %v", err)
			}
			if version, err = r.PatchSubject(ctx, who, []record.Attr{attr(1, 8)}, nil, 0, 0, 0, uptr(1)); err != nil || version != 2 {
				t.Fatalf("patch: version %d, %v", version, err)
			}
			id := NewDecisionID(must(who.Normalize()), time.Now(), [10]byte{byte(n), byte(i)})
			d := command.Decision{ID: id, Subject: must(who.Normalize()), Time: time.Now(), Channel: "web", Direction: nba.Inbound,
				Propositions: []command.Proposition{{Rank: 1, Action: "offer", Placement: "hero"}}}
			if err := r.RecordDecision(ctx, &d); err != nil {
				t.Fatal(err)
			}
			for again := range 2 {
				receipt, err := r.RecordResponse(ctx, command.Response{DecisionID: id, Action: "offer", Outcome: nba.Clicked, Time: time.Now()})
				if err != nil || receipt.Duplicate != (again == 1) {
					t.Fatalf("response %d: %+v, %v", again, receipt, err)
				}
			}
			if n%2 == 0 {
				if err := r.DeleteSubject(ctx, who, uptr(2)); err != nil {
					t.Fatal(err)
				}
			}
		}
		batch := make([]SubjectWrite, 300)
		for n := range batch {
			encoded, err := record.Append(nil, []record.Attr{attr(0, int64(n))}, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			batch[n] = SubjectWrite{Ref: ref(fmt.Sprintf("i-%d-%d", i, n)), Record: encoded}
		}
		if err := r.Import(ctx, batch); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range cluster {
		read := must(nba.Read{Consistency: nba.ConsistencyLinearizable}.Normalize())
		for i := range cluster {
			for n := range 20 {
				reading, _, err := r.AcquireRead(ctx, ref(fmt.Sprintf("s-%d-%d", i, n)), read)
				if n%2 == 0 {
					if nba.CodeOf(err) != nba.CodeSubjectUnknown {
						t.Fatalf("a deleted subject: %v", err)
					}
					continue
				}
				if err != nil || reading.Version() != 2 {
					t.Fatalf("read: %v", err)
				}
				reading.Release()
			}
		}
		if err := r.Control().Sync(ctx); err != nil {
			t.Error(err)
		}
		if _, ok := r.Control().State().Dictionary.Attribute("a2"); !ok {
			t.Errorf("%s lacks an attribute after it caught up", r.NodeID())
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestHandOverMovesEveryLeader: writes go on through every node, the one that leaves included.
func TestHandOverMovesEveryLeader(t *testing.T) {
	cluster := openCluster(t, 3, 4)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	leaving := cluster[0]
	var failures atomic.Int64
	var writers sync.WaitGroup
	stop := make(chan struct{})
	for w, r := range cluster {
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := r.PutSubject(ctx, ref(fmt.Sprintf("h-%d-%d", w, n%50)), nil, 0, 0, nil); err != nil && !strings.Contains(err.Error(), "may or may not") {
					failures.Add(1)
					t.Errorf("a write: %v", err)
				}
			}
		})
	}
	leaving.HandOver(ctx)
	for _, s := range leaving.shards() {
		if s.leads() {
			t.Errorf("group %s is still led by the node that leaves", s.name)
		}
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	writers.Wait()
}

// TestBlobsAreFetchedFromPeers: in parts, and checked.
func TestBlobsAreFetchedFromPeers(t *testing.T) {
	cluster := openCluster(t, 3, 1)
	content := make([]byte, 2*blobPart+17)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	digest := blob.Digest(content)
	if err := cluster[1].Blobs().Put(digest, content); err != nil {
		t.Fatal(err)
	}
	if err := cluster[0].Fetch(t.Context(), digest, "n2"); err != nil {
		t.Fatal(err)
	}
	if got, err := cluster[0].Blobs().Get(digest); err != nil || len(got) != len(content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := cluster[0].Fetch(t.Context(), blob.Digest([]byte("nowhere")), ""); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("a module that nobody has: %v", err)
	}
}

// BenchmarkClusterPut is the durable, applied update of a subject of 1 KB with random keys, by 1,024
// callers of three nodes in one process.
func BenchmarkClusterPut(b *testing.B) {
	for _, groups := range []int{4, 16} {
		b.Run(fmt.Sprint(groups), func(b *testing.B) {
			cluster := openCluster(b, 3, groups)
			const callers, subjects = 1024, 100_000
			text := strings.Repeat("x", 1000)
			var next atomic.Int64
			var work sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for c := range callers {
				work.Go(func() {
					chance := rand.New(rand.NewPCG(1, uint64(c)))
					for next.Add(1) <= int64(b.N) {
						attrs := []record.Attr{{ID: 1, Value: nba.String(text)}}
						if _, _, err := cluster[c%3].PutSubject(context.Background(), ref(fmt.Sprintf("p-%07d", chance.IntN(subjects))), attrs, 0, 0, nil); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			work.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
		})
	}
}
