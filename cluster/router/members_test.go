package router

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// openJoining opens a router with a new folder that asks a node of a cluster to let it in.
func openJoining(t testing.TB, id, zone string, at *Router, change func(*Options)) (*Router, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: filepath.Join(t.TempDir(), id), JoinTimeout: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	o.Cluster = &Cluster{NodeID: id, Zone: zone, Addr: ln.Addr().String(), Listener: ln, Join: func(context.Context) ([]string, error) {
		return []string{"127.0.0.1:1", at.options.Cluster.address()}, nil
	}}
	if change != nil {
		change(&o)
	}
	r, err := Open(t.Context(), o)
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("closing %s: %v", id, err)
		}
	})
	return r, nil
}

func awaitFounded(t testing.TB, r *Router) {
	t.Helper()
	slowly(t, "the nodes are taken into the state", func() bool { return r.control.State().Members.Version > 0 })
}

// settled tells whether every group is where the map says and the map is even.
func settled(t testing.TB, r *Router, replicas int) bool {
	t.Helper()
	b, err := r.Balance(t.Context())
	return err == nil && b.Moving == 0 && b.Lost == 0 && len(b.Next) == 0 && b.MaxReplicas-b.MinReplicas <= 1 && b.MaxReplicas <= replicas
}

// writers write and read subjects through all routers without an end, and count what failed.
type writers struct {
	stop     chan struct{}
	done     sync.WaitGroup
	calls    atomic.Int64
	failures atomic.Int64
	mu       sync.Mutex
	first    error
	last     []uint64 // the version that was acknowledged, by writer
}

func write(t testing.TB, through func() []*Router, n int) *writers {
	w := &writers{stop: make(chan struct{}), last: make([]uint64, n)}
	for i := range n {
		w.done.Go(func() {
			for value := int64(1); ; value++ {
				select {
				case <-w.stop:
					return
				default:
				}
				all := through()
				r := all[int(value)%len(all)]
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				who := ref(fmt.Sprintf("w-%d", i))
				version, _, err := r.PutSubject(ctx, who, []record.Attr{attr(0, value)}, 0, 0, nil)
				cancel()
				w.calls.Add(1)
				if err != nil {
					w.failures.Add(1)
					w.mu.Lock()
					if w.first == nil {
						w.first = fmt.Errorf("through %s: %w", r.NodeID(), err)
					}
					w.mu.Unlock()
					continue
				}
				w.last[i] = version
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	return w
}

// end stops them, and fails for every call that failed and every write that is lost.
func (w *writers) end(t testing.TB, through []*Router) {
	t.Helper()
	close(w.stop)
	w.done.Wait()
	if n := w.failures.Load(); n > 0 {
		t.Errorf("%d of %d calls failed, the first: %v", n, w.calls.Load(), w.first)
	}
	read, err := nba.Read{Consistency: nba.ConsistencyLinearizable}.Normalize()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range w.last {
		got := uint64(0)
		for _, r := range through {
			if r.Keeps(Slot(must(ref(fmt.Sprintf("w-%d", i)).Normalize()))) {
				reading, _, err := r.AcquireRead(t.Context(), ref(fmt.Sprintf("w-%d", i)), read)
				if err != nil {
					t.Errorf("reading through %s: %v", r.NodeID(), err)
					continue
				}
				got = reading.Version()
				reading.Release()
			}
		}
		if got < want {
			t.Errorf("writer %d: version %d is there, %d was acknowledged", i, got, want)
		}
	}
	t.Logf("%d calls", w.calls.Load())
}

// TestGrowAndShrink grows a cluster of three by two nodes and shrinks it again, while it is written to.
func TestGrowAndShrink(t *testing.T) {
	cluster := openCluster(t, 3, 4)
	awaitFounded(t, cluster[0])
	var mu sync.Mutex
	all := func() []*Router {
		mu.Lock()
		defer mu.Unlock()
		return cluster
	}
	w := write(t, all, 4)
	for i := 4; i <= 5; i++ {
		r, err := openJoining(t, fmt.Sprintf("n%d", i), "", cluster[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		awaitReady(t, r)
		mu.Lock()
		cluster = append(append([]*Router(nil), cluster...), r)
		mu.Unlock()
	}
	start := time.Now()
	slowly(t, "replicas are spread over five nodes", func() bool { return settled(t, cluster[0], 5) })
	t.Logf("spread after %s", time.Since(start))
	for _, r := range all() {
		if n := len(r.control.State().Members.Voters); n != 5 {
			t.Errorf("%s: %d nodes are to vote in the control group", r.NodeID(), n)
		}
	}
	for _, id := range []string{"n5", "n2"} {
		if err := cluster[0].Drain(t.Context(), id, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := cluster[0].RemoveMember(t.Context(), "n5", false); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("removing a node that keeps groups: %v", err)
	}
	slowly(t, "two nodes are empty", func() bool {
		members, err := cluster[0].Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		left := 0
		for _, m := range members {
			if m.Draining {
				left += m.Keeps + m.Has + m.Leads
			}
		}
		return left == 0
	})
	slowly(t, "the drained nodes can be removed", func() bool {
		for _, id := range []string{"n5", "n2"} {
			if err := cluster[0].RemoveMember(t.Context(), id, false); err != nil && nba.CodeOf(err) != nba.CodeNotFound {
				return false
			}
		}
		return true
	})
	mu.Lock()
	cluster = []*Router{cluster[0], cluster[2], cluster[3]}
	mu.Unlock()
	w.end(t, cluster)
	for _, r := range cluster {
		awaitReady(t, r)
		slowly(t, r.NodeID()+" counts three nodes", func() bool { return r.Nodes() == 3 })
	}
}

func slowly(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 90 s: %s", what)
		}
	}
}

// TestGrowFromOne: the first node of a cluster keeps everything until others come.
func TestGrowFromOne(t *testing.T) {
	cluster := openCluster(t, 1, 2)
	first := cluster
	w := write(t, func() []*Router { return first }, 2)
	for _, id := range []string{"n2", "n3"} {
		r, err := openJoining(t, id, "", cluster[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		awaitReady(t, r)
		cluster = append(cluster, r)
	}
	slowly(t, "three nodes keep everything", func() bool {
		b, err := cluster[2].Balance(t.Context())
		return err == nil && b.MinReplicas == 2 && b.Moving == 0
	})
	w.end(t, cluster)
}

// TestManyNodes: a list of more nodes than ever vote founds a cluster, in which five do.
func TestManyNodes(t *testing.T) {
	cluster := openCluster(t, 12, 3)
	slowly(t, "everything is settled", func() bool { return settled(t, cluster[11], 1) })
	for _, r := range cluster {
		if n := len(r.control.State().Members.Voters); n != 5 {
			t.Errorf("%s: %d nodes vote in the control group", r.NodeID(), n)
		}
		if _, _, err := r.PutSubject(t.Context(), ref("many"), nil, 0, 0, nil); err != nil {
			t.Errorf("through %s: %v", r.NodeID(), err)
		}
		if err := r.Control().DeclareAttributes(t.Context(), []nba.AttributeDeclaration{{Name: "by" + r.NodeID(), Type: nba.KindInt}}); err != nil {
			t.Errorf("through %s: %v", r.NodeID(), err)
		}
	}
}

func TestJoinIsRefused(t *testing.T) {
	cluster := openCluster(t, 1, 2)
	awaitFounded(t, cluster[0])
	for _, c := range []struct {
		name, says string
		change     func(*Options)
	}{
		{"another cluster", "another cluster", func(o *Options) { o.Cluster.ID = "south" }},
		{"a name that is taken", "answers at another address", func(o *Options) { o.Cluster.NodeID = "n1" }},
		{"no name", "the name of a node", func(o *Options) { o.Cluster.NodeID = "N_1" }},
	} {
		if _, err := openJoining(t, "n9", "", cluster[0], c.change); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
