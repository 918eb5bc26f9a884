package artifact

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// SignatureSection is the custom section that holds the signature of an artifact. The signature is over
// the digest of the artifact without this section.
const SignatureSection = "arbiter.signature"

const (
	signatureAlgorithm = "ed25519"
	maxSignatureBytes  = 1024
	// signedPrefix keeps a signature of an artifact from being taken for one of anything else.
	signedPrefix = "arbiter plugin signature, version 1\n"
)

// signature is the content of SignatureSection.
type signature struct {
	Algorithm string `json:"algorithm"`
	Key       string `json:"key"` // KeyID of the public key
	Signature []byte `json:"signature"`
}

// KeyID names a public key: 16 hex digits of its SHA-256.
func KeyID(public ed25519.PublicKey) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:8])
}

// Sign returns module signed by a key, in place of any signature it had.
func Sign(module []byte, private ed25519.PrivateKey) ([]byte, error) {
	bare, err := wasmbin.WithoutCustomSection(module, SignatureSection)
	if err != nil {
		return nil, err
	}
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok || len(private) != ed25519.PrivateKeySize {
		return nil, nba.Errorf(nba.CodeInvalid, "the private key is no ed25519 key")
	}
	content, err := json.Marshal(signature{Algorithm: signatureAlgorithm, Key: KeyID(public), Signature: ed25519.Sign(private, signed(bare))})
	if err != nil {
		return nil, fmt.Errorf("encoding the signature: %w", err)
	}
	return wasmbin.AppendCustomSection(bare, SignatureSection, content), nil
}

// signed is what a signature is over.
func signed(bare []byte) []byte { return append([]byte(signedPrefix), Digest(bare)...) }

// SignedBy is the id of the key that a module says it is signed by, "" when it has no signature. It is not
// verified.
func SignedBy(module []byte) (keyID string, err error) {
	s, err := signatureOf(module)
	if s == nil {
		return "", err
	}
	return s.Key, err
}

// signatureOf is nil for a module without a signature.
func signatureOf(module []byte) (*signature, error) {
	content, ok, err := wasmbin.CustomSection(module, SignatureSection)
	if err != nil || !ok {
		return nil, err
	}
	s := &signature{}
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.DisallowUnknownFields()
	if len(content) > maxSignatureBytes || dec.Decode(s) != nil || s.Algorithm != signatureAlgorithm || len(s.Signature) != ed25519.SignatureSize {
		return nil, refuseSignature("it is no %s signature; sign the artifact again with arbiter plugin sign", signatureAlgorithm)
	}
	return s, nil
}

// VerifySignature tells which of the trusted keys signed module. Without a signature the error has
// CodePluginRefused unless unsigned is allowed; then the key is nil.
func VerifySignature(module []byte, trusted []nba.PluginKey, allowUnsigned bool) (*nba.PluginKey, error) {
	s, err := signatureOf(module)
	switch {
	case err != nil:
		return nil, err
	case s == nil && allowUnsigned:
		return nil, nil
	case s == nil:
		return nil, refuseSignature("the artifact is not signed, and this node takes signed ones only; sign it with arbiter plugin sign, or have the operator allow others (plugins.unsigned)")
	}
	i := slices.IndexFunc(trusted, func(k nba.PluginKey) bool { return k.ID == s.Key })
	if i < 0 || len(trusted[i].PublicKey) != ed25519.PublicKeySize {
		return nil, refuseSignature("the key that signed the artifact is not trusted here; add it with arbiter plugin keys add, or sign with one of arbiter plugin keys list")
	}
	bare, err := wasmbin.WithoutCustomSection(module, SignatureSection)
	if err != nil {
		return nil, err
	}
	if !ed25519.Verify(trusted[i].PublicKey, signed(bare), s.Signature) {
		return nil, refuseSignature("the signature does not belong to these bytes: they were changed after signing; build and sign the artifact again")
	}
	return &trusted[i], nil
}

func refuseSignature(detail string, args ...any) error {
	text := "rule signature: section " + SignatureSection + ": " + fmt.Sprintf(detail, args...)
	return &nba.Error{Code: nba.CodePluginRefused, Message: text,
		Details: []nba.Detail{{Pointer: "/signature", Code: nba.CodePluginRefused, Detail: text}}}
}
