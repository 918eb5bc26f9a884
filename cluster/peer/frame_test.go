package peer

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(nil, frameAnswer, 80, 7, []byte("body")))
	f.Add(appendRequest(appendFrame(nil, frameCancel, 0, 3, nil), 80, 4, 1000, "trace", []byte("head"), []byte("body")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			got, err := readFrame(r, 1<<16)
			if err != nil {
				return
			}
			if again := appendFrame(nil, got.kind, got.method, got.id, got.body); !bytes.Contains(b, again) {
				t.Errorf("%x became %x", b, again)
			}
			if ms, trace, request, err := parseRequest(got.body); err == nil {
				again := appendRequest(nil, got.method, got.id, ms, trace, nil, request)
				back, err := readFrame(bufio.NewReader(bytes.NewReader(again)), 1<<17)
				if err != nil || !bytes.Equal(back.body, got.body) {
					t.Errorf("%x became %x (%v)", got.body, back.body, err)
				}
			}
		}
	})
}

func FuzzGreetings(f *testing.F) {
	g := greeting{version: version, lane: laneBulk, cluster: "c", from: "a", to: "b"}
	f.Add(appendGreeting(nil, g, false), false)
	f.Add(appendGreeting(nil, g, true), true)
	f.Fuzz(func(t *testing.T, b []byte, answer bool) {
		got, err := readGreeting(bytes.NewReader(b), answer)
		if err != nil || got.version != version {
			return
		}
		if again := appendGreeting(nil, got, answer); !bytes.HasPrefix(b, again) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add(append(appendNames(nil, []string{"n1", "n2"}), 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		names, rest, err := parseNames(b)
		if err != nil {
			return
		}
		if again := append(appendNames(nil, names), rest...); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

func TestDamagedFramesEndTheConnection(t *testing.T) {
	good := appendFrame(nil, frameAnswer, 80, 7, []byte("body"))
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if f, err := readFrame(bufio.NewReader(bytes.NewReader(bad)), 1<<20); err == nil {
			t.Errorf("byte %d changed and was not noticed: %+v", i, f)
		}
	}
	if _, err := readFrame(bufio.NewReader(bytes.NewReader(appendFrame(nil, 1, 1, 1, make([]byte, 101)))), 100); !errors.Is(err, errFrame) {
		t.Errorf("a frame beyond the limit: %v", err)
	}
	if _, err := readFrame(bufio.NewReader(bytes.NewReader(good[:5])), 100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame cut short: %v", err)
	}
}

// TestGarbageIsHarmless: whoever connects and says something else is refused, and others are served.
func TestGarbageIsHarmless(t *testing.T) {
	nodes := cluster(t, 2, nil)
	connected(t, nodes)
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "ARBP", "ARBP\x09\x01", strings.Repeat("\xff", 1000),
		string(appendGreeting(nil, greeting{version, laneBulk, "test", "nobody", "a"}, false)),
		string(appendGreeting(nil, greeting{version, laneBulk, "test", "b", "a"}, false)) + strings.Repeat("\xff", 1000)} {
		c, err := net.Dial("tcp", nodes[0].config.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(garbage)); err != nil {
			t.Log(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, c)
		if problem, ok := errors.AsType[net.Error](err); ok && problem.Timeout() {
			t.Errorf("%q keeps a connection", garbage)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := nodes[1].Call(t.Context(), "a", methodEcho, nil); err != nil {
		t.Error(err)
	}
}

// certificates makes a certificate for each name, and the authority that signed them.
func certificates(t *testing.T, names ...string) (map[string]tls.Certificate, *x509.CertPool) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, &key.PublicKey, key)
	must(err)
	authority, err = x509.ParseCertificate(der)
	must(err)
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	made := map[string]tls.Certificate{}
	for i, name := range names {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 2), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		}, authority, &own.PublicKey, key)
		must(err)
		made[name] = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
	}
	return made, pool
}

func TestTLS(t *testing.T) {
	made, pool := certificates(t, "a", "b", "c")
	nodes := cluster(t, 3, func(i int, c *Config) {
		own := made[name(i)]
		if i == 2 {
			own = made["a"] // c shows the certificate of another
		}
		c.TLS = func() *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: pool, ClientCAs: pool}
		}
	})
	connected(t, nodes[:2])
	if _, err := nodes[0].Call(t.Context(), "b", methodEcho, make([]byte, 1<<20)); err != nil {
		t.Error(err)
	}
	if _, err := nodes[0].Send(t.Context(), "b", methodCopy, nil, bytes.NewReader(make([]byte, 1<<20))); err != nil {
		t.Error(err)
	}
	eventually(t, "refused", func() bool { return nodes[0].Reason("c") != nil && nodes[2].Reason("a") != nil })
	if nodes[0].Alive("c") || nodes[2].Alive("a") || !slices.Contains(nodes[0].SeenDownBy("c"), "a") {
		t.Error("a node with the certificate of another was let in")
	}
	t.Log(nodes[0].Reason("c"), nodes[2].Reason("a"))
}
