package chaos

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/pki"
)

// budget is a client as a channel has it: it writes and reads through any node that answers, and tries the next
// one for up to two seconds. What fails then is what the error budget is spent on.
type budget struct {
	acked, failed, slow atomic.Int64
	mu                  sync.Mutex
	worst               time.Duration
}

const (
	budgetPatience = 2 * time.Second
	budgetSlow     = 250 * time.Millisecond
)

func (b *budget) progress() int64 { return b.acked.Load() }

func (b *budget) run(ctx context.Context, c *cluster) {
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			for i := client; ctx.Err() == nil; i++ {
				began := time.Now()
				ok := b.once(ctx, c, i)
				if ctx.Err() != nil {
					return
				}
				took := time.Since(began)
				b.mu.Lock()
				b.worst = max(b.worst, took)
				b.mu.Unlock()
				if took > budgetSlow {
					b.slow.Add(1)
				}
				if ok {
					b.acked.Add(1)
				} else {
					b.failed.Add(1)
				}
				pause(ctx, 5*time.Millisecond)
			}
		})
	}
	clients.Wait()
}

// once puts a subject, which may be repeated, through one node after the other.
func (b *budget) once(ctx context.Context, c *cluster, i int) bool {
	ctx, cancel := context.WithTimeout(ctx, budgetPatience)
	defer cancel()
	for try := 0; ctx.Err() == nil; try++ {
		n := c.nodes[(i+try)%len(c.nodes)]
		attempt, end := context.WithTimeout(ctx, 500*time.Millisecond)
		req, err := http.NewRequestWithContext(attempt, http.MethodPut, fmt.Sprintf("http://%s/v1/subjects/budget-%d", n.api, i%64), strings.NewReader(`{"attributes":{}}`))
		if err != nil {
			end()
			return false
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := n.client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		end()
		if err == nil && resp.StatusCode/100 == 2 {
			return true
		}
		pause(ctx, 5*time.Millisecond)
	}
	return false
}

func (b *budget) check(t *testing.T, _ *cluster) {
	t.Helper()
	acked, failed := b.acked.Load(), b.failed.Load()
	t.Logf("error budget: %d of %d calls failed within %v (%.3f %%), %d took more than %v, the longest %v",
		failed, acked+failed, budgetPatience, 100*float64(failed)/float64(max(acked+failed, 1)), b.slow.Load(), budgetSlow, b.worst.Round(time.Millisecond))
	if failed*20 > acked {
		t.Errorf("%d of %d calls failed: one node at a time is disturbed, so the others must answer", failed, acked+failed)
	}
}

// TestNetworks disturbs real interfaces: partitions that are symmetric, one-way and flapping, late and lossy links.
func TestNetworks(t *testing.T) {
	s := seed(t)
	w := newNetwork(t)
	c := newCluster(t, 3, w.setup)
	declare(t, c)
	n := newNemesis(t, c, s, 500*time.Millisecond, w.faults()...)
	torment(t, c, n, nemesisTime(9*time.Second), newRegisters(s, current(c)), newCounters(s, current(c)), newSet(s, current(c)), newLedger(s), &budget{})
}

// TestExpiredCertificate: a node does not start with a certificate that has expired, and says so. One whose
// certificate expires while it runs is refused when it is connected to anew, while the cluster goes on, and
// comes back by itself when the certificate is exchanged.
func TestExpiredCertificate(t *testing.T) {
	w := newNetwork(t)
	c := newCluster(t, 3, w.setup)
	declare(t, c)
	bad, other := c.nodes[2], c.nodes[0]
	bad.kill()
	w.certify(bad.id, time.Second)
	time.Sleep(1100 * time.Millisecond)
	if err := bad.start(); err != nil {
		t.Fatal(err)
	}
	writeThrough(t, c.nodes[:2], "expired", 30)
	select {
	case <-bad.exited:
	case <-time.After(10 * time.Second):
		t.Error("a node runs with a certificate that has expired")
		bad.kill()
	}
	if log := bad.tail(); !strings.Contains(log, "arbiter tls cert") {
		t.Errorf("it does not say what to do:\n%s", log)
	}

	const valid = 6 * time.Second
	w.certify(bad.id, valid)
	issued := time.Now()
	if err := bad.start(); err != nil {
		t.Fatal(err)
	}
	if err := bad.awaitReady(valid); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(issued.Add(valid + 500*time.Millisecond)))
	other.kill()
	if err := other.start(); err != nil {
		t.Fatal(err)
	}
	writeThrough(t, c.nodes[1:2], "ended", 30)
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(other.tail(), "expired"); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no log says that a certificate has expired:\n%s", other.tail())
		}
	}
	w.certify(bad.id, 0)
	for _, n := range c.nodes {
		if err := n.awaitReady(30 * time.Second); err != nil {
			t.Fatalf("after the certificate was exchanged: %v", err)
		}
	}
	readThrough(t, c.nodes, "expired", 30)
	readThrough(t, c.nodes, "ended", 30)
	awaitEqual(t, c)
}

// TestStolenFolder: whoever starts a copy of a node's folder without its certificate gets no word from the
// cluster, which goes on; the node itself comes back.
func TestStolenFolder(t *testing.T) {
	w := newNetwork(t)
	c := newCluster(t, 3, w.setup)
	declare(t, c)
	writeThrough(t, c.nodes, "before", 20)
	owner := c.nodes[2]
	if err := owner.terminate(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	thief := &node{id: owner.id, program: owner.program, api: owner.api, admin: owner.admin, dir: filepath.Join(c.dir, "stolen"), logFile: filepath.Join(c.dir, "thief.log"),
		client: owner.client}
	if out, err := exec.Command("cp", "-r", owner.dir, thief.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	other, err := pki.NewAuthority("thief", 0)
	if err != nil {
		t.Fatal(err)
	}
	own := &network{t: t, dir: t.TempDir(), ips: w.ips}
	own.write("ca.pem", other.Certificate)
	own.write("ca.key", other.Key)
	if own.authority, err = pki.LoadAuthority(own.dir); err != nil {
		t.Fatal(err)
	}
	own.certify(owner.id, 0)
	thief.args = strings.Split(strings.NewReplacer(owner.dir, thief.dir, w.dir, own.dir).Replace(strings.Join(owner.args, "\x00")), "\x00")
	if err := thief.start(); err != nil {
		t.Fatal(err)
	}
	defer thief.kill()
	writeThrough(t, c.nodes[:2], "after", 40)
	if err := neverReady(thief, 3*time.Second); err != nil {
		t.Error(err)
	}
	for i := range 2 {
		if _, a := thief.read(fmt.Sprintf("after-%d", i), "linearizable"); a.fate == applied {
			t.Fatal("the thief reads what was written after the folder was stolen")
		}
	}
	thief.kill()
	if err := owner.start(); err != nil {
		t.Fatal(err)
	}
	if err := owner.awaitReady(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	readThrough(t, c.nodes, "after", 40)
	awaitEqual(t, c)
}

// TestFolderOfAnotherCluster: a node that is started, by mistake, over the data of another cluster is refused and
// changes nothing, on either side.
func TestFolderOfAnotherCluster(t *testing.T) {
	w := newNetwork(t)
	c := newCluster(t, 3, w.setup)
	declare(t, c)
	writeThrough(t, c.nodes, "ours", 20)
	stranger := c.nodes[1]
	if err := stranger.terminate(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	// The same names and addresses, another cluster: its folder is made by nodes that are told another name.
	foreign := filepath.Join(c.dir, "foreign")
	ownArgs, ownDir := stranger.args, stranger.dir
	if err := os.MkdirAll(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	stranger.dir = foreign
	theirs := strings.Split(strings.ReplaceAll(strings.Join(ownArgs, "\x00"), ownDir, foreign), "\x00")
	for i, arg := range theirs {
		if arg == "--cluster-id" {
			theirs[i+1] = "another"
		}
	}
	stranger.args = theirs
	if err := stranger.start(); err != nil {
		t.Fatal(err)
	}
	writeThrough(t, []*node{c.nodes[0], c.nodes[2]}, "meanwhile", 40)
	if err := neverReady(stranger, 3*time.Second); err != nil {
		t.Error(err)
	}
	stranger.kill()
	// Over that folder, told the right name: it does not even start.
	stranger.args = strings.Split(strings.ReplaceAll(strings.Join(ownArgs, "\x00"), ownDir, foreign), "\x00")
	if err := stranger.start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stranger.exited:
	case <-time.After(10 * time.Second):
		t.Error("a node runs over the folder of another cluster")
		stranger.kill()
	}
	if !strings.Contains(stranger.tail(), "another cluster") {
		t.Errorf("it does not say why:\n%s", stranger.tail())
	}
	stranger.args, stranger.dir = ownArgs, ownDir
	if err := stranger.start(); err != nil {
		t.Fatal(err)
	}
	if err := stranger.awaitReady(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	readThrough(t, c.nodes, "meanwhile", 40)
	readThrough(t, c.nodes, "ours", 20)
	awaitEqual(t, c)
}

// neverReady is nil if a node that runs is not ready for so long.
func neverReady(n *node, lasting time.Duration) error {
	for deadline := time.Now().Add(lasting); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if !n.alive() {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := n.ready(ctx)
		cancel()
		if err == nil {
			return fmt.Errorf("%s says that it is ready", n.id)
		}
	}
	return nil
}

// writeThrough stores subjects through nodes in turn; each gets a few tries, since leaders may be changing.
func writeThrough(t *testing.T, nodes []*node, prefix string, count int) {
	t.Helper()
	for i := range count {
		var a answer
		for try := range 20 {
			if a = nodes[(i+try)%len(nodes)].put(fmt.Sprintf("%s-%d", prefix, i), int64(i), nil); a.fate == applied {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if a.fate != applied {
			t.Fatalf("writing %s-%d: %+v", prefix, i, a)
		}
	}
}

// readThrough reads on every node what writeThrough stored.
func readThrough(t *testing.T, nodes []*node, prefix string, count int) {
	t.Helper()
	for _, n := range nodes {
		for i := range count {
			var a answer
			var seen register
			for range 20 {
				if seen, a = n.read(fmt.Sprintf("%s-%d", prefix, i), "linearizable"); a.fate == applied {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			if a.fate != applied || seen.value != int64(i) {
				t.Fatalf("reading %s-%d on %s: %+v %+v", prefix, i, n.id, seen, a)
			}
		}
	}
}
