package artifact

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func key(t *testing.T, seed byte) (ed25519.PrivateKey, nba.PluginKey) {
	t.Helper()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	public := private.Public().(ed25519.PublicKey)
	return private, nba.PluginKey{ID: KeyID(public), Name: "release", PublicKey: public}
}

func TestSignature(t *testing.T) {
	module, err := Embed(empty(), good())
	if err != nil {
		t.Fatal(err)
	}
	private, public := key(t, 1)
	_, other := key(t, 2)
	signedModule, err := Sign(module, private)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Sign(signedModule, private)
	if err != nil || !bytes.Equal(again, signedModule) {
		t.Errorf("signing twice gives another artifact: %v", err)
	}
	if by, err := SignedBy(signedModule); err != nil || by != public.ID || len(by) != 16 {
		t.Errorf("SignedBy = %q, %v", by, err)
	}
	if got, err := VerifySignature(signedModule, []nba.PluginKey{other, public}, false); err != nil || got.ID != public.ID {
		t.Errorf("a good signature: %+v, %v", got, err)
	}
	if got, err := VerifySignature(module, nil, true); err != nil || got != nil {
		t.Errorf("an unsigned artifact that is allowed: %+v, %v", got, err)
	}

	changed := wasmbin.AppendCustomSection(signedModule, "more", []byte("x"))
	forged := bytes.Clone(signedModule)
	forged[len(forged)-40] ^= 1
	stolen := other // another key under the id of the trusted one
	stolen.ID = public.ID
	for _, c := range []struct {
		name    string
		module  []byte
		trusted []nba.PluginKey
		want    string
	}{
		{"unsigned", module, []nba.PluginKey{public}, "not signed"},
		{"another key", signedModule, []nba.PluginKey{other}, "not trusted"},
		{"no keys", signedModule, nil, "not trusted"},
		{"changed bytes", changed, []nba.PluginKey{public}, "changed after signing"},
		{"a changed signature", forged, []nba.PluginKey{public}, "rule signature"},
		{"another key of that id", signedModule, []nba.PluginKey{stolen}, "changed after signing"},
		{"no signature but a section", wasmbin.AppendCustomSection(module, SignatureSection, []byte(`{}`)), []nba.PluginKey{public}, "no ed25519 signature"},
		{"two signatures", wasmbin.AppendCustomSection(signedModule, SignatureSection, []byte(`{}`)), []nba.PluginKey{public}, SignatureSection},
	} {
		for _, allowUnsigned := range []bool{false, true} {
			if allowUnsigned && c.name == "unsigned" {
				continue
			}
			if _, err := VerifySignature(c.module, c.trusted, allowUnsigned); nba.CodeOf(err) != nba.CodePluginRefused || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		}
	}
}
