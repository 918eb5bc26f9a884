package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookEvery is how often the files are looked at, at most.
const lookEvery = time.Second

// Files is a certificate with its key, and the authorities to trust, as files that may be exchanged
// while they are in use: connections made later see the new ones. Files that cannot be used are
// reported and leave what was read last in place. It is safe for concurrent use.
type Files struct {
	certificate, key, authorities string
	logger                        *slog.Logger

	mu     sync.Mutex
	looked time.Time
	stamp  [3]fileStamp
	wrong  string // the last complaint, so that it is made once
	loaded *material
}

// material is what the files held.
type material struct {
	pair     tls.Certificate
	leaf     *x509.Certificate
	pool     *x509.CertPool // nil without authorities
	notAfter time.Time
}

type fileStamp struct {
	size    int64
	changed time.Time
}

// Open reads the files. authorities is the bundle of trusted certificates; it may be empty for a
// server whose clients show none.
func Open(certificate, key, authorities string, logger *slog.Logger) (*Files, error) {
	f := &Files{certificate: certificate, key: key, authorities: authorities, logger: logger}
	stamp, err := f.stamps()
	if err != nil {
		return nil, err
	}
	loaded, err := f.read()
	if err != nil {
		return nil, err
	}
	f.looked, f.stamp, f.loaded = time.Now(), stamp, loaded
	return f, nil
}

// NotAfter is when the certificate in use ends.
func (f *Files) NotAfter() time.Time { return f.current().notAfter }

// Names are the host names and node ids of the certificate in use.
func (f *Files) Names() []string { return f.current().leaf.DNSNames }

// Server is the configuration of a listener whose clients show no certificate.
func (f *Files) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair := f.current().pair
			return &pair, nil
		},
	}
}

// Mutual is the configuration of a connection on which both sides show a certificate of the
// authorities. It is for one connection: ask again for the next, which may find other files.
func (f *Files) Mutual() *tls.Config {
	now := f.current()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{now.pair}, RootCAs: now.pool, ClientCAs: now.pool,
	}
}

// current is what the files hold, or held when they could last be used.
func (f *Files) current() *material {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < lookEvery {
		return f.loaded
	}
	f.looked = time.Now()
	stamp, err := f.stamps()
	if err == nil && stamp == f.stamp {
		return f.loaded
	}
	var fresh *material
	if err == nil {
		fresh, err = f.read()
	}
	if err != nil {
		if f.wrong != err.Error() {
			f.wrong = err.Error()
			f.logger.Error("the certificate files changed and cannot be used: the former ones stay in use", "error", err)
		}
		return f.loaded
	}
	f.stamp, f.loaded, f.wrong = stamp, fresh, ""
	f.logger.Info("the certificate files changed", "notAfter", fresh.notAfter)
	return fresh
}

func (f *Files) stamps() (stamps [3]fileStamp, err error) {
	for i, path := range [...]string{f.certificate, f.key, f.authorities} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return stamps, fmt.Errorf("reading the certificate files: %w", err)
		}
		stamps[i] = fileStamp{info.Size(), info.ModTime()}
	}
	return stamps, nil
}

func (f *Files) read() (*material, error) {
	pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate and its key: %w", err)
	}
	m := &material{pair: pair, leaf: pair.Leaf, notAfter: pair.Leaf.NotAfter}
	if time.Now().After(m.notAfter) {
		return nil, fmt.Errorf("the certificate in %s ended at %s: issue a new one with `arbiter tls cert`", f.certificate, m.notAfter.UTC().Format(time.RFC3339))
	}
	if f.authorities == "" {
		return m, nil
	}
	raw, err := os.ReadFile(f.authorities)
	if err != nil {
		return nil, fmt.Errorf("reading the trusted authorities: %w", err)
	}
	m.pool = x509.NewCertPool()
	if !m.pool.AppendCertsFromPEM(raw) {
		return nil, errors.New("the file of trusted authorities holds no certificate in PEM form")
	}
	return m, nil
}
