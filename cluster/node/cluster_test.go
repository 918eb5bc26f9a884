package node

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// openCluster opens several nodes of one cluster within this process.
func openCluster(tb testing.TB, nodes, groups int) []*Node {
	tb.Helper()
	return openClusterOf(tb, nodes, groups, 0)
}

// openClusterOf is openCluster with another number of replicas of each data group.
func openClusterOf(tb testing.TB, nodes, groups, replicas int) []*Node {
	tb.Helper()
	addresses, listeners := map[string]string{}, []net.Listener{}
	for i := range nodes {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		addresses[fmt.Sprintf("n%d", i+1)] = ln.Addr().String()
		listeners = append(listeners, ln)
	}
	dir := tb.TempDir()
	var cluster []*Node
	for i, ln := range listeners {
		id := fmt.Sprintf("n%d", i+1)
		cfg := DefaultConfig()
		cfg.DataDir, cfg.DataGroups = filepath.Join(dir, id), groups
		cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
		cfg.Cluster = &router.Cluster{NodeID: id, Nodes: addresses, Listener: ln, Replicas: replicas}
		n, err := Open(tb.Context(), cfg)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			if err := n.Close(); err != nil {
				tb.Error(err)
			}
		})
		cluster = append(cluster, n)
	}
	for _, n := range cluster {
		deadline := time.Now().Add(20 * time.Second)
		for n.Ready(tb.Context()) != nil {
			if time.Now().After(deadline) {
				tb.Fatalf("not ready: %v", n.Ready(tb.Context()))
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return cluster
}

// TestCallsMove makes the same calls on every node at once, while models are swapped through each. Simulated
// decisions for one subject are the same on all nodes but for what is drawn for each.
func TestCallsMove(t *testing.T) {
	cluster := openCluster(t, 3, 2)
	loadDemo(t, cluster[0], 60)
	ctx := t.Context()
	var want nba.Decision
	for i, n := range cluster {
		req := request("S-000007", "web")
		req.Options.Simulate, req.Options.Explain = true, nba.ExplainFull
		d := decide(t, n, req)
		d.DecisionID, d.DecidedAt = "", time.Time{}
		for p := range d.Propositions {
			for j := range d.Propositions[p].Items {
				item := &d.Propositions[p].Items[j]
				item.ResponseToken, item.ExpiresAt = "", nil
			}
		}
		if i == 0 {
			want = d
		} else if diff := cmp.Diff(want, d); diff != "" {
			t.Errorf("node %d decides otherwise than the first:\n%s", i+1, diff)
		}
	}
	var work sync.WaitGroup
	for i, n := range cluster {
		work.Go(func() {
			for k := range 60 {
				id := fmt.Sprintf("S-%06d", 1+k)
				d := decide(t, n, request(id, "web"))
				if d.Degraded || len(d.Propositions) == 0 {
					t.Errorf("a degraded decision: %s", d.DegradedReason)
				}
				if len(d.Propositions[0].Items) > 0 {
					if _, err := n.Respond(ctx, []nba.Response{{ResponseToken: d.Propositions[0].Items[0].ResponseToken, Outcome: nba.Clicked}}); err != nil {
						t.Error(err)
					}
				}
				read := &nba.Read{Consistency: []string{nba.ConsistencyLeader, nba.ConsistencyLinearizable, nba.ConsistencyStale}[k%3]}
				if _, err := n.Subject(ctx, nba.SubjectRef{ID: id}, read); err != nil {
					t.Errorf("%s: %v", read.Consistency, err)
				}
				if items, _, err := n.History(ctx, nba.SubjectRef{ID: id}, nil, 10, ""); err != nil || len(items) == 0 {
					t.Errorf("%d interactions, %v", len(items), err)
				}
			}
		})
		work.Go(func() {
			version := fmt.Sprintf("2.%d.0", i)
			if _, err := n.PushPlugin(ctx, churnModule(t, version), true); err != nil {
				t.Errorf("pushing %s: %v", version, err)
			}
		})
	}
	work.Wait()
	for i, n := range cluster {
		if _, err := n.Plugin(ctx, "churn", fmt.Sprintf("2.%d.0", (i+1)%3)); err != nil {
			t.Errorf("node %d does not know what another one pushed: %v", i+1, err)
		}
		if missing := n.missing(); len(missing) > 0 {
			t.Errorf("node %d has yet to load %v", i+1, missing)
		}
	}
	cluster[0].HandOver(ctx)
	for k := range 10 {
		decide(t, cluster[k%3], request(fmt.Sprintf("S-%06d", 1+k), "web"))
	}
}
