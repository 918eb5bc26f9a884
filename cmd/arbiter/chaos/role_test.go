package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	embedded "github.com/arbiterhq/arbiter/cluster/node"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/api"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// board is memory that the test and its nodes share, so that what one process acknowledged is known
// to a reader in another one at once, paused or not.
type board struct {
	acked [boardKeys]atomic.Int64 // the last version that was acknowledged
	nodes [boardNodes]boardNode
}

type boardNode struct {
	reads, stale, behind, failed, writes atomic.Int64
	go_                                  atomic.Bool // whether the hunters of this node may work
	_                                    [2]uint64
}

const (
	boardKeys  = 48
	boardNodes = 8
)

// mapBoard maps the board that rests in a file.
func mapBoard(path string) (*board, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size := int(unsafe.Sizeof(board{}))
	if err := file.Truncate(int64(size)); err != nil {
		return nil, err
	}
	mapped, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping the board: %w", err)
	}
	return (*board)(unsafe.Pointer(&mapped[0])), nil
}

// hunter describes a process that is a whole node and hunts from inside.
type hunter struct {
	ID, API, Admin, Peer, Dir, Board string
	Members                          []string
	Index, Nodes, Readers            int
	Consistency                      string
	Seed                             uint64
}

const roleHunter = "hunter"

// hunting makes the nodes of a cluster hunters.
func hunting(boardFile, consistency string, readers int, seed uint64) setup {
	return func(t *testing.T, c *cluster, i int) {
		t.Helper()
		n := c.nodes[i]
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		description, err := json.Marshal(hunter{ID: n.id, API: n.api, Admin: n.admin, Peer: n.peer, Dir: n.dir, Board: boardFile,
			Members: n.members, Index: i, Nodes: len(c.nodes), Readers: readers, Consistency: consistency, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		n.program, n.args = self, []string{string(description)}
		n.env = []string{envRole + "=" + roleHunter, "GOGC=200"}
	}
}

// playRole is main of a process that is no test.
func playRole(role string) int {
	var h hunter
	err := errors.New("no such role")
	if role == roleHunter {
		if err = json.Unmarshal([]byte(os.Args[1]), &h); err == nil {
			err = h.run()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	return 0
}

// run is a node like arbiter server, with hunters.
func (h *hunter) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	shared, err := mapBoard(h.Board)
	if err != nil {
		return err
	}
	cfg := embedded.DefaultConfig()
	cfg.DataDir, cfg.Logger = h.Dir, slog.New(slog.NewTextHandler(os.Stderr, nil))
	if h.Nodes > 1 {
		cfg.DataGroups = 4
		if cfg.Cluster, err = h.cluster(); err != nil {
			return err
		}
	}
	apiLn, err := net.Listen("tcp", h.API)
	if err != nil {
		return err
	}
	adminLn, err := net.Listen("tcp", h.Admin)
	if err != nil {
		return err
	}
	n, err := embedded.Open(ctx, cfg)
	if err != nil {
		return err
	}
	options := api.DefaultOptions()
	public, admin := api.New(n, options), api.NewAdmin(n, cfg.Registry, options)
	var serving sync.WaitGroup
	serving.Go(func() { _ = public.Serve(apiLn) })
	serving.Go(func() { _ = admin.Serve(adminLn) })
	h.hunt(ctx, n, shared)
	<-ctx.Done()
	bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = errors.Join(public.Shutdown(bounded), admin.Shutdown(bounded))
	serving.Wait()
	return errors.Join(err, n.Close())
}

func (h *hunter) cluster() (*router.Cluster, error) {
	ln, err := net.Listen("tcp", h.Peer)
	if err != nil {
		return nil, err
	}
	c := &router.Cluster{NodeID: h.ID, ID: "chaos", Nodes: map[string]string{}, Listener: ln}
	for _, member := range h.Members {
		name, addr, _ := strings.Cut(member, "=")
		c.Nodes[name] = addr
	}
	return c, nil
}

// hunt writes the keys of this node and reads all keys, until ctx ends.
func (h *hunter) hunt(ctx context.Context, n *embedded.Node, shared *board) {
	mine := &shared.nodes[h.Index]
	var all sync.WaitGroup
	for k := h.Index; k < boardKeys; k += h.Nodes {
		all.Go(func() { h.write(ctx, n, shared, k) })
	}
	for reader := range h.Readers {
		all.Go(func() {
			random := rand.New(rand.NewPCG(h.Seed, uint64(h.Index*1000+reader)))
			for ctx.Err() == nil {
				if !mine.go_.Load() || !h.read(ctx, n, shared, random.IntN(boardKeys)) {
					pause(ctx, 2*time.Millisecond)
				}
			}
		})
	}
	all.Wait()
}

func huntedRef(k int) nba.SubjectRef { return nba.SubjectRef{ID: fmt.Sprintf("hunted-%d", k)} }

// write writes one key, which nobody else does, so that the versions it is told rise.
func (h *hunter) write(ctx context.Context, n *embedded.Node, shared *board, k int) {
	mine := &shared.nodes[h.Index]
	for value := int64(1); ctx.Err() == nil; value++ {
		if !mine.go_.Load() {
			pause(ctx, 10*time.Millisecond)
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, 3*time.Second)
		version, _, err := n.PutSubject(bounded, nba.SubjectDocument{SubjectRef: huntedRef(k), Attributes: map[string]any{"value": value}}, nil)
		cancel()
		if err == nil {
			shared.acked[k].Store(int64(version))
			mine.writes.Add(1)
		}
		pause(ctx, 5*time.Millisecond)
	}
}

// read reads one key; false when there was no answer.
func (h *hunter) read(ctx context.Context, n *embedded.Node, shared *board, k int) bool {
	mine := &shared.nodes[h.Index]
	floor := shared.acked[k].Load()
	bounded, cancel := context.WithTimeout(ctx, 3*time.Second)
	doc, err := n.Subject(bounded, huntedRef(k), &nba.Read{Consistency: h.Consistency})
	cancel()
	if err != nil && (nba.CodeOf(err) != nba.CodeSubjectUnknown || floor == 0) {
		mine.failed.Add(1)
		return false
	}
	version := int64(doc.Version) // 0 when there is no such subject
	mine.reads.Add(1)
	if version < floor {
		mine.stale.Add(1)
		mine.behind.Store(max(mine.behind.Load(), floor-version))
		slog.Error("stale read", "key", k, "read", version, "acknowledged before", floor)
	}
	return true
}
