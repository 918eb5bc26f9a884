package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	methodEcho   = FirstFree
	methodFail   = FirstFree + 1
	methodSlow   = FirstFree + 2
	methodOrder  = FirstFree + 3
	methodUrgent = FirstUrgent
	methodCopy   = FirstFree + 4
)

// testNode is a node of a test's cluster.
type testNode struct {
	*Port
	mu      sync.Mutex
	order   []uint64
	started chan struct{} // gets one for each slow call
	ended   chan error
	changes chan string
}

var quiet = slog.New(slog.DiscardHandler)

// cluster opens n nodes, named a, b, c, on loopback.
func cluster(t testing.TB, n int, edit func(i int, c *Config)) []*testNode {
	t.Helper()
	addresses := make(map[string]string)
	listeners := make([]net.Listener, n)
	for i := range n {
		var err error
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		addresses[name(i)] = listeners[i].Addr().String()
	}
	nodes := make([]*testNode, n)
	for i := range n {
		config := Config{NodeID: name(i), ClusterID: "test", Listener: listeners[i], Nodes: addresses, Logger: quiet,
			Limits: Limits{PingInterval: 20 * time.Millisecond, DownAfter: 3 * time.Second}}
		if edit != nil {
			edit(i, &config)
		}
		nodes[i] = open(t, config)
	}
	return nodes
}

func name(i int) string { return string(rune('a' + i)) }

func open(t testing.TB, config Config) *testNode {
	t.Helper()
	p, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	n := &testNode{Port: p, started: make(chan struct{}, 100), ended: make(chan error, 100), changes: make(chan string, 100)}
	p.Handle(methodEcho, func(ctx context.Context, from string, request []byte) ([]byte, error) {
		return append([]byte(from+Trace(ctx)+":"), request...), nil
	})
	p.Handle(methodFail, func(_ context.Context, _ string, request []byte) ([]byte, error) {
		switch string(request) {
		case "shown":
			return nil, &nba.Error{Code: nba.CodeConflict, Message: "no", Details: []nba.Detail{{Pointer: "/a", Code: nba.CodeInvalid, Detail: "why"}}}
		case "panic":
			panic("fault")
		default:
			return nil, errors.New("internal")
		}
	})
	p.Handle(methodSlow, func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		n.started <- struct{}{}
		<-ctx.Done()
		n.ended <- ctx.Err()
		return nil, ctx.Err()
	})
	p.Handle(methodUrgent, func(context.Context, string, []byte) ([]byte, error) { return []byte("now"), nil })
	p.HandleInline(methodOrder, func(_ string, request []byte, reply Reply) {
		n.mu.Lock()
		n.order = append(n.order, binary.LittleEndian.Uint64(request))
		n.mu.Unlock()
		reply(request, nil)
	})
	p.HandleStream(methodCopy, func(_ context.Context, _ string, header []byte, data io.Reader) ([]byte, error) {
		all, err := io.ReadAll(data)
		if err != nil {
			n.ended <- err
			return nil, err
		}
		return fmt.Appendf(nil, "%s %d %x", header, len(all), bytes.Count(all, []byte{7})), nil
	})
	p.OnChange(func(node string, up bool) { n.changes <- fmt.Sprint(node, up) })
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func connected(t testing.TB, nodes []*testNode) {
	t.Helper()
	eventually(t, "all connected", func() bool {
		for _, n := range nodes {
			for i := range nodes {
				if !n.Alive(name(i)) {
					return false
				}
			}
		}
		return true
	})
}

func TestCalls(t *testing.T) {
	nodes := cluster(t, 3, nil)
	connected(t, nodes)
	ctx := WithTrace(t.Context(), "trace")
	var wg sync.WaitGroup
	for i, from := range nodes {
		for j := range nodes {
			if i == j {
				continue
			}
			for k := range 50 {
				wg.Go(func() {
					body := bytes.Repeat([]byte{byte(k)}, k*2000)
					got, err := from.Call(ctx, name(j), methodEcho, body)
					if err != nil || string(got) != name(i)+"trace:"+string(body) {
						t.Errorf("%d->%d: %d bytes, %v", i, j, len(got), err)
					}
				})
			}
		}
	}
	wg.Wait()
	if got, err := nodes[0].Call(ctx, "b", methodUrgent, nil); err != nil || string(got) != "now" {
		t.Errorf("urgent: %q, %v", got, err)
	}
}

func TestErrorsTravel(t *testing.T) {
	nodes := cluster(t, 2, nil)
	connected(t, nodes)
	ctx := t.Context()
	_, err := nodes[0].Call(ctx, "b", methodFail, []byte("shown"))
	shown, ok := errors.AsType[*nba.Error](err)
	if !ok || shown.Code != nba.CodeConflict || shown.Message != "no" || len(shown.Details) != 1 || shown.Details[0].Pointer != "/a" {
		t.Errorf("got %#v", err)
	}
	for _, request := range []string{"fault", "panic"} {
		if _, err := nodes[0].Call(ctx, "b", methodFail, []byte(request)); nba.CodeOf(err) != nba.CodeInternal || errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", request, err)
		}
	}
	if _, err := nodes[0].Call(ctx, "b", 999, nil); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("unknown method: %v", err)
	}
	if _, err := nodes[0].Call(ctx, "x", methodEcho, nil); nba.CodeOf(err) != nba.CodeUnavailable || !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrUncertain) {
		t.Errorf("unknown node: %v", err)
	}
	if _, err := nodes[0].Call(ctx, "b", methodUrgent, make([]byte, MaxUrgentBytes+1)); nba.CodeOf(err) != nba.CodeTooLarge {
		t.Errorf("large: %v", err)
	}
}

func TestDeadlineAndCancelTravel(t *testing.T) {
	nodes := cluster(t, 2, nil)
	connected(t, nodes)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := nodes[0].Call(ctx, "b", methodSlow, nil); nba.CodeOf(err) != nba.CodeTimeout {
		t.Errorf("got %v", err)
	}
	<-nodes[1].ended
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		<-nodes[1].started
		<-nodes[1].started
		cancel()
	}()
	if _, err := nodes[0].Call(ctx, "b", methodSlow, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-nodes[1].ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler saw %v", err)
	}
}

func TestInlineCallsKeepTheirOrder(t *testing.T) {
	nodes := cluster(t, 2, nil)
	connected(t, nodes)
	const n = 20000
	var answered atomic.Int64
	for i := range uint64(n) {
		body := binary.LittleEndian.AppendUint64(nil, i)
		err := nodes[0].Go(t.Context(), "b", methodOrder, body[:3], body[3:], func(answer []byte, err error) {
			if err == nil && bytes.Equal(answer, body) {
				answered.Add(1)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all answered", func() bool { return answered.Load() == n })
	if !slices.IsSorted(nodes[1].order) {
		t.Error("out of order")
	}
}

func TestDownIsKnownAtOnce(t *testing.T) {
	nodes := cluster(t, 3, nil)
	connected(t, nodes)
	calls := make(chan error, 1)
	go func() {
		_, err := nodes[0].Call(t.Context(), "c", methodSlow, nil)
		calls <- err
	}()
	<-nodes[2].started
	start := time.Now()
	if err := nodes[2].Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-calls; !errors.Is(err, ErrUnreachable) || !errors.Is(err, ErrUncertain) {
		// The handler may have answered that it was cancelled.
		if nba.CodeOf(err) != nba.CodeInternal {
			t.Errorf("got %v", err)
		}
	}
	eventually(t, "down", func() bool { return !nodes[0].Alive("c") && !nodes[1].Alive("c") })
	t.Logf("down after %s", time.Since(start))
	eventually(t, "agreed", func() bool { return slices.Equal(nodes[0].SeenDownBy("c"), []string{"a", "b"}) })
	t.Logf("agreed after %s", time.Since(start))
	start = time.Now()
	if _, err := nodes[0].Call(t.Context(), "c", methodEcho, nil); !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrUncertain) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 100*time.Millisecond {
		t.Errorf("a call to a node that is down took %s", took)
	}
	if !nodes[0].Alive("a") || len(nodes[0].SeenDownBy("b")) != 0 {
		t.Error("those that live are seen down")
	}
}

func TestComesBack(t *testing.T) {
	nodes := cluster(t, 2, nil)
	connected(t, nodes)
	config := nodes[1].config
	if err := nodes[1].Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "down", func() bool { return !nodes[0].Alive("b") })
	var err error
	if config.Listener, err = net.Listen("tcp", config.Listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	again := open(t, config)
	connected(t, []*testNode{nodes[0], again})
	t.Logf("up after %s", time.Since(start))
	if _, err := nodes[0].Call(t.Context(), "b", methodEcho, nil); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"btrue", "bfalse", "btrue"} {
		if got := <-nodes[0].changes; got != want {
			t.Errorf("change %q, want %q", got, want)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(i int, c *Config)
		want string
	}{
		{"cluster", func(i int, c *Config) { c.ClusterID = fmt.Sprint("cluster", i) }, "the node at %s belongs to cluster cluster1 and this one to cluster0: correct the address of b, or begin with an empty data folder"},
		{"name", func(i int, c *Config) {
			if i == 1 {
				c.NodeID = "z"
			}
		}, "the node at %s is z, not b: correct the addresses"},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes := cluster(t, 2, c.edit)
			want := fmt.Sprintf(c.want, nodes[1].config.Listener.Addr())
			eventually(t, "a reason", func() bool { err := nodes[0].Reason("b"); return err != nil && err.Error() == want })
			if nodes[0].Alive("b") {
				t.Error("alive")
			}
		})
	}
}

func TestTransfers(t *testing.T) {
	nodes := cluster(t, 2, nil)
	connected(t, nodes)
	for _, size := range []int{0, 1, chunkBytes, chunkBytes + 1, 5 << 20} {
		got, err := nodes[0].Send(t.Context(), "b", methodCopy, []byte("head"), bytes.NewReader(bytes.Repeat([]byte{7}, size)))
		if want := fmt.Sprintf("head %d %x", size, size); err != nil || string(got) != want {
			t.Errorf("%d: %q, %v", size, got, err)
		}
	}
	broken := io.MultiReader(bytes.NewReader(make([]byte, 3*chunkBytes)), &failingReader{})
	if _, err := nodes[0].Send(t.Context(), "b", methodCopy, nil, broken); err == nil {
		t.Error("no error")
	}
	if err := <-nodes[1].ended; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the handler saw %v", err)
	}
	if _, err := nodes[0].Send(t.Context(), "b", 999, nil, bytes.NewReader(make([]byte, 10<<20))); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("unknown method: %v", err)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("broken") }
