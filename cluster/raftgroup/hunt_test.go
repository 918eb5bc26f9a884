package raftgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/peer"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// The hunt for stale reads: three processes, of which one after the other is stopped by SIGSTOP and
// goes on later without knowing. Readers on all of them confirm before they read. They share one
// number in memory, the most that was acknowledged or read anywhere: nobody may read less than it was
// when the read began.

const huntEnv = "ARBITER_HUNT_NODE" // id dir addresses; set in the processes of a hunt

// huntBoard is the memory that the processes share.
type huntBoard struct {
	seen, writes, reads, refused, stale, worst *uint64
}

func openBoard(path string) (b huntBoard, unmap func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return b, nil, err
	}
	const size = 4096
	if err := f.Truncate(size); err != nil {
		return b, nil, err
	}
	memory, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err := errors.Join(err, f.Close()); err != nil {
		return b, nil, err
	}
	at := func(i int) *uint64 { return (*uint64)(unsafe.Pointer(&memory[i*64])) }
	return huntBoard{at(0), at(1), at(2), at(3), at(4), at(5)}, func() error { return syscall.Munmap(memory) }, nil
}

func raise(p *uint64, v uint64) {
	for {
		old := atomic.LoadUint64(p)
		if v <= old || atomic.CompareAndSwapUint64(p, old, v) {
			return
		}
	}
}

// huntNode is one process of a hunt. It ends when its input does.
func huntNode(words []string) error {
	id, dir := words[0], words[1]
	addresses := map[string]string{}
	var ids []string
	for _, word := range words[2:] {
		name, address, _ := strings.Cut(word, "=")
		addresses[name] = address
		ids = append(ids, name)
	}
	board, unmap, err := openBoard(filepath.Join(filepath.Dir(dir), "board"))
	if err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	listener, err := net.Listen("tcp", addresses[id])
	if err != nil {
		return err
	}
	port, err := peer.Open(peer.Config{NodeID: id, ClusterID: "hunt", Listener: listener, Nodes: addresses, Logger: quiet,
		Limits: peer.Limits{DownAfter: 300 * time.Millisecond}})
	if err != nil {
		return err
	}
	mesh := NewMesh(port, quiet)
	state, err := OpenState(dir, store.Options{}, quiet)
	if err != nil {
		return err
	}
	data, err := fsm.NewData(state.Store)
	if err != nil {
		return err
	}
	g, err := Open(Config{Name: "data-00", Dir: dir, NodeID: id, Voters: ids, Mesh: mesh, Logger: quiet}, data)
	if err != nil {
		return err
	}
	if err := port.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() { huntWrite(ctx, g, fmt.Sprint(id, "-", w), board) })
	}
	for range 64 {
		work.Go(func() { huntRead(ctx, g, data, board) })
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
	work.Wait()
	return errors.Join(g.Close(), mesh.Close(), port.Close(), state.Close(), unmap())
}

func huntWrite(ctx context.Context, g *Group, id string, board huntBoard) {
	for k := 0; ctx.Err() == nil; k++ {
		if !g.Leading() {
			time.Sleep(2 * time.Millisecond)
			continue
		}
		now, cancel := context.WithTimeout(ctx, time.Second)
		_, err := g.Submit(now, put(nil, fmt.Sprint(id, "-", k)))
		cancel()
		if err == nil {
			raise(board.seen, atomic.AddUint64(board.writes, 1)) // each made one more subject
		}
		time.Sleep(time.Millisecond)
	}
}

func huntRead(ctx context.Context, g *Group, data *fsm.Data, board huntBoard) {
	for ctx.Err() == nil {
		before := atomic.LoadUint64(board.seen)
		now, cancel := context.WithTimeout(ctx, time.Second)
		err := g.Confirm(now)
		cancel()
		if err != nil {
			atomic.AddUint64(board.refused, 1)
			time.Sleep(5 * time.Millisecond)
			continue
		}
		got := uint64(data.Subjects())
		atomic.AddUint64(board.reads, 1)
		if got < before {
			atomic.AddUint64(board.stale, 1)
			raise(board.worst, before-got)
		}
		raise(board.seen, got)
	}
}

// TestHuntForStaleReads runs for some seconds, or as long as ARBITER_HUNT says.
func TestHuntForStaleReads(t *testing.T) {
	length := 6 * time.Second
	if text := os.Getenv("ARBITER_HUNT"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	} else if testing.Short() {
		t.Skip("it takes some seconds")
	}
	root := t.TempDir()
	board, unmap, err := openBoard(filepath.Join(root, "board"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unmap(); err != nil {
			t.Error(err)
		}
	}()
	var places []string
	for i := range 3 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, fmt.Sprintf("n%d=%s", i+1, listener.Addr()))
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var nodes []*exec.Cmd
	var inputs []io.Closer
	for i := range 3 {
		id := fmt.Sprint("n", i+1)
		dir := filepath.Join(root, id)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c := exec.Command(os.Args[0], "-test.run=^$")
		c.Env = append(os.Environ(), huntEnv+"="+strings.Join(append([]string{id, dir}, places...), " "))
		c.Stderr = os.Stderr
		input, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		nodes, inputs = append(nodes, c), append(inputs, input)
	}
	pauses := 0
	for end := time.Now().Add(length); time.Now().Before(end); pauses++ {
		time.Sleep(time.Duration(500+rand.IntN(700)) * time.Millisecond)
		p := nodes[rand.IntN(3)].Process
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(100+rand.IntN(1500)) * time.Millisecond)
		if err := p.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	for i, c := range nodes {
		if err := inputs[i].Close(); err != nil {
			t.Error(err)
		}
		if err := c.Wait(); err != nil {
			t.Errorf("n%d: %v", i+1, err)
		}
	}
	t.Logf("%d pauses, %d writes, %d reads, %d refused, %d stale (worst by %d)", pauses, *board.writes, *board.reads, *board.refused, *board.stale, *board.worst)
	if *board.stale > 0 {
		t.Error("there were stale reads")
	}
	if *board.reads < 1000 || *board.writes < 50 {
		t.Error("too little was done")
	}
}
