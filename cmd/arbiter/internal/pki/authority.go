package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// How long certificates are valid unless told otherwise.
const (
	DefaultAuthorityValidity = 10 * 365 * 24 * time.Hour
	DefaultValidity          = 365 * 24 * time.Hour
	// skew lets clocks differ.
	skew = 5 * time.Minute
)

// The names of an authority's files in its folder.
const (
	AuthorityCertificate = "ca.pem"
	AuthorityKey         = "ca.key"
)

// Authority signs the certificates of one cluster.
type Authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// Pair is a certificate with its key, both as PEM.
type Pair struct {
	Certificate, Key []byte
	NotAfter         time.Time
}

// Subject is what a certificate is for.
type Subject struct {
	// Node is the id of a node, under which the others know it. Empty for a certificate that no node
	// of the cluster shows to another.
	Node string
	// Hosts are the names and addresses under which clients reach it, besides localhost, 127.0.0.1 and ::1.
	Hosts []string
	// Validity is DefaultValidity if 0.
	Validity time.Duration
}

// NewAuthority makes an authority that is called name, valid from now on for so long (0:
// DefaultAuthorityValidity).
func NewAuthority(name string, validity time.Duration) (*Pair, error) {
	if validity == 0 {
		validity = DefaultAuthorityValidity
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	template, err := newTemplate(name, validity)
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return sign(template, template, key, key)
}

// LoadAuthority reads an authority from the folder that WriteAuthority filled.
func LoadAuthority(folder string) (*Authority, error) {
	certificate, err := readCertificate(filepath.Join(folder, AuthorityCertificate))
	if err != nil {
		return nil, err
	}
	if !certificate.IsCA {
		return nil, fmt.Errorf("%s is no certificate of an authority", filepath.Join(folder, AuthorityCertificate))
	}
	path := filepath.Join(folder, AuthorityKey)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the key of the authority: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s holds no PKCS #8 key: %w", path, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok || !publicEqual(key.Public(), certificate.PublicKey) {
		return nil, fmt.Errorf("%s is not the key of %s", path, AuthorityCertificate)
	}
	return &Authority{certificate: certificate, key: key}, nil
}

func publicEqual(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}

// nodeID is that of package config.
var nodeID = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// Issue makes a certificate that both ends of a connection may show.
func (a *Authority) Issue(subject Subject) (*Pair, error) {
	if subject.Node == "" && len(subject.Hosts) == 0 {
		return nil, errors.New("name a node or a host that the certificate is for")
	}
	if subject.Node != "" && !nodeID.MatchString(subject.Node) {
		return nil, errors.New("the id of a node is up to 32 of a-z, 0-9 and -")
	}
	validity := subject.Validity
	if validity == 0 {
		validity = DefaultValidity
	}
	name := subject.Node
	if name == "" {
		name = subject.Hosts[0]
	}
	template, err := newTemplate(name, validity)
	if err != nil {
		return nil, err
	}
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range append([]string{subject.Node, "localhost", "127.0.0.1", "::1"}, subject.Hosts...) {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if host != "" && !slices.Contains(template.DNSNames, host) {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	return sign(template, a.certificate, key, a.key)
}

func newTemplate(name string, validity time.Duration) (*x509.Certificate, error) {
	if validity < time.Second || validity > 50*365*24*time.Hour {
		return nil, errors.New("a certificate is valid for at least a second and at most 50 years")
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"Arbiter"}},
		NotBefore: now.Add(-skew), NotAfter: now.Add(validity),
	}, nil
}

func sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey, by crypto.Signer) (*Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	return &Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
		NotAfter:    template.NotAfter,
	}, nil
}

// Write stores the pair in two files, which must not be there yet unless replace is set; the key is
// for its owner's eyes alone. With replace, each file is exchanged at once, the key first: a reader
// that meets halves of two pairs keeps what it has until they match.
func (p *Pair) Write(certificate, key string, replace bool) error {
	for _, path := range []string{certificate, key} {
		if _, err := os.Lstat(path); err == nil && !replace {
			return fmt.Errorf("%s is there already", path)
		}
	}
	if err := os.MkdirAll(filepath.Dir(certificate), 0o700); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	if err := writeFile(key, p.Key, 0o600); err != nil {
		return err
	}
	return writeFile(certificate, p.Certificate, 0o644)
}

func writeFile(path string, body []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".pki-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(body)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func readCertificate(path string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certificate, nil
}
