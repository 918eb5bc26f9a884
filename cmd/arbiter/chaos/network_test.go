package chaos

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/pki"
)

// network gives each node of a cluster a network namespace of its own, with one interface on a bridge. What
// goes wrong there goes wrong in the kernel: packets are lost in silence, one way or both, or come late.
// Connections between nodes are secured, as they must be beyond loopback.
type network struct {
	t         *testing.T
	dir       string
	authority *pki.Authority
	shaping   string // how links are made slow: netem, tbf, or empty
	macs      map[string]string
	ips       map[string]string
}

const networkAPI, networkAdmin, networkPeer = "127.0.0.1:8080", "127.0.0.1:8081", 7000

// newNetwork makes the bridge, or skips the test where the machine cannot.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if !namespaced() {
		t.Skip("NOT TESTED: network namespaces need root on Linux; partitions are tested with proxies alone")
	}
	w := &network{t: t, dir: t.TempDir(), macs: map[string]string{}, ips: map[string]string{}}
	for _, program := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("NOT TESTED: there is no %s here, so there are no namespaces with a network of their own", program)
		}
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	if err := unix.Mount("netns", "/run/netns", "tmpfs", 0, ""); err != nil {
		t.Skipf("NOT TESTED: mounting /run/netns: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount("/run/netns", unix.MNT_DETACH) })
	if err := run("ip", "link", "add", "chaos0", "type", "bridge"); err != nil {
		t.Skipf("NOT TESTED: this kernel has no bridges: %v", err)
	}
	t.Cleanup(func() { _ = run("ip", "link", "del", "chaos0") })
	w.must("ip", "link", "set", "chaos0", "up")
	pair, err := pki.NewAuthority("chaos", 0)
	if err != nil {
		t.Fatal(err)
	}
	w.write("ca.pem", pair.Certificate)
	w.write("ca.key", pair.Key)
	if w.authority, err = pki.LoadAuthority(w.dir); err != nil {
		t.Fatal(err)
	}
	return w
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func (w *network) must(name string, args ...string) {
	w.t.Helper()
	if err := run(name, args...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *network) write(name string, content []byte) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), content, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// certify writes a certificate for a node.
func (w *network) certify(id string, validity time.Duration) {
	w.t.Helper()
	pair, err := w.authority.Issue(pki.Subject{Node: id, Hosts: []string{w.ips[id]}, Validity: validity})
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(id+".key", pair.Key)
	w.write(id+".pem", pair.Certificate)
}

// setup moves a node into a namespace of its own, before it starts for the first time.
func (w *network) setup(t *testing.T, c *cluster, i int) {
	t.Helper()
	n := c.nodes[i]
	if len(w.ips) == 0 {
		for j, other := range c.nodes {
			w.ips[other.id], w.macs[other.id] = fmt.Sprintf("10.77.0.%d", j+1), fmt.Sprintf("02:00:00:77:00:%02x", j+1)
		}
		for _, l := range c.links { // the proxies are not used here
			l.close()
		}
		c.links = nil
	}
	w.must("ip", "netns", "add", n.id)
	t.Cleanup(func() { _ = run("ip", "netns", "del", n.id) })
	w.must("ip", "link", "add", "to-"+n.id, "type", "veth", "peer", "name", "eth0", "netns", n.id)
	t.Cleanup(func() { _ = run("ip", "link", "del", "to-"+n.id) }) // at once: a namespace goes when the kernel has time
	w.must("ip", "link", "set", "to-"+n.id, "master", "chaos0", "up")
	in := func(args ...string) { t.Helper(); w.must("ip", append([]string{"-n", n.id}, args...)...) }
	in("link", "set", "eth0", "address", w.macs[n.id])
	in("addr", "add", w.ips[n.id]+"/24", "dev", "eth0")
	in("link", "set", "lo", "up")
	in("link", "set", "eth0", "up")
	for _, other := range c.nodes {
		if other != n {
			in("neigh", "replace", w.ips[other.id], "lladdr", w.macs[other.id], "dev", "eth0", "nud", "permanent")
		}
	}
	w.certify(n.id, 0)
	var members []string
	for _, other := range c.nodes {
		members = append(members, fmt.Sprintf("%s=%s:%d", other.id, w.ips[other.id], networkPeer))
	}
	n.api, n.admin = networkAPI, networkAdmin
	n.args = append([]string{"--net=/run/netns/" + n.id, "--", n.program, "server", "--data", n.dir, "--addr", n.api, "--admin-addr", n.admin,
		"--log-level", "info", "--plugins-unsigned", "allow", "--cluster-node-id", n.id, "--cluster-addr", fmt.Sprintf("%s:%d", w.ips[n.id], networkPeer),
		"--cluster-nodes", strings.Join(members, ","), "--cluster-id", "chaos"}, w.tlsArgs(n.id)...)
	n.program = "nsenter"
	n.client = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: dialIn(n.id)}}
}

func (w *network) tlsArgs(id string) []string {
	return []string{"--tls-cert", filepath.Join(w.dir, id+".pem"), "--tls-key", filepath.Join(w.dir, id+".key"), "--tls-ca", filepath.Join(w.dir, "ca.pem")}
}

// dialIn connects from within a namespace and speaks TLS, so that the client above may speak plain HTTP. It
// does not look at the certificate: that is not what is tested with it.
func dialIn(namespace string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialWithin(ctx, namespace, network, addr)
		if err != nil {
			return nil, err
		}
		secured := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // see above
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return secured, nil
	}
}

// dialWithin moves this thread into the namespace, and back: a thread that ended would take the nodes that it
// started with it.
func dialWithin(ctx context.Context, namespace, network, addr string) (conn net.Conn, err error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	there, err := os.Open(filepath.Join("/run/netns", namespace))
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("entering the namespace: %w", err)
	}
	conn, err = (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(fmt.Sprintf("a thread cannot leave the namespace of %s: %v", namespace, back))
	}
	runtime.UnlockOSThread()
	return conn, err
}

// drop loses everything that one node sends to another: it goes to a hardware address that nobody has.
func (w *network) drop(from, to string) error {
	return run("ip", "-n", from, "neigh", "replace", w.ips[to], "lladdr", "02:00:00:77:ff:ff", "dev", "eth0", "nud", "permanent")
}

// pass ends drop.
func (w *network) pass(from, to string) error {
	return run("ip", "-n", from, "neigh", "replace", w.ips[to], "lladdr", w.macs[to], "dev", "eth0", "nud", "permanent")
}

// heal ends every partition and every slow link.
func (w *network) heal() error {
	var problems []error
	for from := range w.ips {
		for to := range w.ips {
			if from != to {
				problems = append(problems, w.pass(from, to))
			}
		}
		_ = run("ip", "netns", "exec", from, "tc", "qdisc", "del", "dev", "eth0", "root") // there may be none
	}
	return errors.Join(problems...)
}

// shape makes what a node sends late and lossy: with netem where the kernel has it, else by a rate that is too
// low and a short queue, which is how networks do it.
func (w *network) shape(node string, delay time.Duration, loss int) error {
	ms := fmt.Sprintf("%dms", delay.Milliseconds())
	tc := []string{"netns", "exec", node, "tc", "qdisc", "replace", "dev", "eth0", "root"}
	if w.shaping != "tbf" {
		if run("ip", append(tc, "netem", "delay", ms, "5ms", "loss", fmt.Sprintf("%d%%", loss))...) == nil {
			w.shaping = "netem"
			return nil
		}
	}
	if err := run("ip", append(tc, "tbf", "rate", "4mbit", "burst", "16kb", "latency", ms)...); err != nil {
		return errSkip{fmt.Errorf("neither netem nor tbf: %w", err)}
	}
	if w.shaping == "" {
		w.t.Log("NOT TESTED: this kernel has no netem; links are made late and lossy by a low rate and a short queue (tbf)")
	}
	w.shaping = "tbf"
	return nil
}

// faults are those of networks, in the kernel.
func (w *network) faults() []fault {
	each := func(n *nemesis, cut func(victim, other string) error) (func() error, error) {
		victim := n.one()
		for _, other := range n.c.nodes {
			if other != victim {
				if err := cut(victim.id, other.id); err != nil {
					return nil, err
				}
			}
		}
		return w.heal, nil
	}
	shaped := func(delay time.Duration, loss int) func(*nemesis) (func() error, error) {
		return func(n *nemesis) (func() error, error) { return w.heal, w.shape(n.one().id, delay, loss) }
	}
	return []fault{
		{name: "net-cut", replicas: 3, root: true, strike: func(n *nemesis) (func() error, error) {
			return each(n, func(victim, other string) error { return errors.Join(w.drop(victim, other), w.drop(other, victim)) })
		}},
		{name: "net-mute", replicas: 3, root: true, strike: func(n *nemesis) (func() error, error) { return each(n, w.drop) }},
		{name: "net-deaf", replicas: 3, root: true, strike: func(n *nemesis) (func() error, error) {
			return each(n, func(victim, other string) error { return w.drop(other, victim) })
		}},
		{name: "net-bridge", replicas: 3, root: true, strike: func(n *nemesis) (func() error, error) {
			pair := n.some(2)
			return w.heal, errors.Join(w.drop(pair[0].id, pair[1].id), w.drop(pair[1].id, pair[0].id))
		}},
		{name: "net-flap", replicas: 3, root: true, strike: func(n *nemesis) (func() error, error) { return w.heal, w.flap(n) }},
		{name: "net-late", replicas: 3, root: true, strike: shaped(40*time.Millisecond, 0)},
		{name: "net-loss", replicas: 3, root: true, strike: shaped(5*time.Millisecond, 10)},
	}
}

// flap cuts one node off and lets it back, many times.
func (w *network) flap(n *nemesis) error {
	victim := n.one()
	for range 6 {
		for _, cut := range []func(from, to string) error{w.drop, w.pass} {
			for _, other := range n.c.nodes {
				if other == victim {
					continue
				}
				if err := errors.Join(cut(victim.id, other.id), cut(other.id, victim.id)); err != nil {
					return err
				}
			}
			time.Sleep(time.Duration(50+n.random.IntN(250)) * time.Millisecond)
		}
	}
	return nil
}
