package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func makeAuthority(t *testing.T, folder string) *Authority {
	t.Helper()
	pair, err := NewAuthority("test", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Write(filepath.Join(folder, AuthorityCertificate), filepath.Join(folder, AuthorityKey), false); err != nil {
		t.Fatal(err)
	}
	authority, err := LoadAuthority(folder)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func issue(t *testing.T, a *Authority, folder string, s Subject, replace bool) (certificate, key string) {
	t.Helper()
	pair, err := a.Issue(s)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(folder, "n.pem"), filepath.Join(folder, "n.key")
	if err := pair.Write(certificate, key, replace); err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

// shake lets two configurations meet and returns what each side found wrong.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(a, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		done <- errors.Join(err, a.Close())
	}()
	c := tls.Client(b, client)
	clientErr = c.Handshake()
	if clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 1)) // with TLS 1.3 a refused client learns of it here
	}
	_ = b.Close()
	return <-done, clientErr
}

func TestNodesProveWhoTheyAre(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	authority := makeAuthority(t, folder)
	certificate, key := issue(t, authority, folder, Subject{Node: "n1"}, false)
	files, err := Open(certificate, key, filepath.Join(folder, AuthorityCertificate), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := files.Mutual()
	server.ClientAuth = tls.RequireAndVerifyClientCert
	client := files.Mutual()
	client.ServerName = "n1"
	if s, c := shake(t, server, client); s != nil || c != nil {
		t.Fatalf("nodes of one cluster: server %v, client %v", s, c)
	}
	client.ServerName = "n2"
	if _, c := shake(t, server, client); c == nil {
		t.Error("a node showed the certificate of another and was believed")
	}

	other := t.TempDir()
	strangerCertificate, strangerKey := issue(t, makeAuthority(t, other), other, Subject{Node: "n1"}, false)
	stranger, err := Open(strangerCertificate, strangerKey, filepath.Join(folder, AuthorityCertificate), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	client = stranger.Mutual()
	client.ServerName = "n1"
	if s, c := shake(t, server, client); s == nil || c == nil {
		t.Errorf("a certificate of another authority was taken: server %v, client %v", s, c)
	}
}

func TestFilesAreFollowed(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	authority := makeAuthority(t, folder)
	certificate, key := issue(t, authority, folder, Subject{Node: "n1"}, false)
	files, err := Open(certificate, key, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	first := files.NotAfter()
	lookAgain := func() {
		files.mu.Lock()
		files.looked = time.Time{}
		files.mu.Unlock()
	}

	if err := os.WriteFile(certificate, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	lookAgain()
	if got := files.NotAfter(); !got.Equal(first) {
		t.Fatalf("a broken file replaced the certificate: ends at %s, the former at %s", got, first)
	}
	issue(t, authority, folder, Subject{Node: "n1", Validity: time.Hour}, true)
	lookAgain()
	if got := files.NotAfter(); got.Equal(first) {
		t.Fatal("the new certificate is not in use")
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority.certificate)
	if s, c := shake(t, files.Server(), &tls.Config{RootCAs: pool, ServerName: "localhost"}); s != nil || c != nil {
		t.Fatalf("server %v, client %v", s, c)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	authority := makeAuthority(t, folder)
	for name, subject := range map[string]Subject{
		"nobody": {}, "id": {Node: "N 1"}, "validity": {Node: "n1", Validity: -time.Hour},
	} {
		if _, err := authority.Issue(subject); err == nil {
			t.Errorf("%s: issued", name)
		}
	}
	certificate, key := issue(t, authority, folder, Subject{Node: "n1", Validity: time.Second}, false)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", info.Mode(), err)
	}
	pair, err := authority.Issue(Subject{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Write(certificate, key, false); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("overwrote a certificate: %v", err)
	}
	time.Sleep(1100 * time.Millisecond)
	if _, err := Open(certificate, key, "", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "arbiter tls cert") {
		t.Errorf("an ended certificate: %v", err)
	}
	if _, err := Open(filepath.Join(folder, "none"), key, "", slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing certificate: %v", err)
	}
}
