// Package porttest gives tests ports for processes that are told where to listen.
package porttest

import (
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
)

// Free gives a loopback address nobody listens on. Its port is below those that the kernel gives to
// connections: one of these could be taken before a process listens there. Ports are 32 apart, for
// clusters that count on from the first.
func Free(tb testing.TB) string {
	tb.Helper()
	const first, apart, count = 20_000, 32, 375
	for range count {
		port := first + apart*(int(next.Add(1))%count)
		if ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			defer ln.Close()
			return ln.Addr().String()
		}
	}
	tb.Fatal("no free port")
	return ""
}

// next counts the ports given. Programs that test at the same time begin at different ones.
var next = func() *atomic.Int64 {
	n := new(atomic.Int64)
	n.Store(int64(os.Getpid()) * 41)
	return n
}()
