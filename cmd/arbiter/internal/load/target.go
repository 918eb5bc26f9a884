package load

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Loopback checks that addr, "http://host:port" or "host:port", is this machine, and returns
// "ip:port". A load test against another machine is an attack until both sides agreed on it, so
// there is no way around this check.
func Loopback(addr string) (string, error) {
	if strings.Contains(addr, "://") {
		u, err := url.Parse(addr)
		if err != nil || u.Host == "" {
			return "", fmt.Errorf("the address is not like http://127.0.0.1:8080")
		}
		if u.Scheme != "http" {
			return "", fmt.Errorf("the load generator speaks plain http to this machine, not %s", u.Scheme)
		}
		addr = u.Host
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return "", fmt.Errorf("the address needs a host and a port, like http://127.0.0.1:8080")
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return "", fmt.Errorf("load tests run only against this machine: use 127.0.0.1, ::1 or localhost")
	}
	return net.JoinHostPort(ip.String(), port), nil
}
