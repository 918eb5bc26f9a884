package cli

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

const maxKeyBytes = 64 << 10

func (a *app) pluginKeysCommand() *cobra.Command {
	return noun("keys", "Keys whose signatures of plugins are trusted",
		`  arbiter plugin keys new release.key
  arbiter plugin keys add release release.key.pub
  arbiter plugin keys list
  arbiter plugin keys rm release`,
		a.pluginKeysNewCommand(), a.pluginKeysAddCommand(), a.pluginKeysListCommand(), a.pluginKeysRemoveCommand())
}

// madeKey is the answer of plugin keys new.
type madeKey struct {
	ID         string `json:"id"`
	PrivateKey string `json:"privateKey"`
	PublicKey  string `json:"publicKey"`
}

func (a *app) pluginKeysNewCommand() *cobra.Command {
	return &cobra.Command{
		Use: "new FILE", Short: "Make a key to sign plugins with; offline",
		Long: "Make an ed25519 key: FILE is the private key (PKCS #8, PEM), which only you can read, and FILE.pub the public one,\n" +
			"which arbiter plugin keys add trusts. openssl reads both.",
		Example: "  arbiter plugin keys new release.key",
		Args:    args("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			made, err := writeKey(args[0])
			if err != nil {
				return err
			}
			return a.print(made, func(w io.Writer, p paint) {
				fmt.Fprintf(w, "key %s: %s stays with you, %s is for the nodes\n%s arbiter plugin keys add NAME %s\n", p.bold(made.ID), made.PrivateKey,
					made.PublicKey, p.dim("To trust it:"), made.PublicKey)
			})
		},
	}
}

func writeKey(file string) (madeKey, error) {
	made := madeKey{PrivateKey: file, PublicKey: file + ".pub"}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return made, fmt.Errorf("making a key: %w", err)
	}
	made.ID = artifact.KeyID(public)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return made, fmt.Errorf("encoding the key: %w", err)
	}
	open, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return made, fmt.Errorf("encoding the key: %w", err)
	}
	for _, part := range []struct {
		name, kind string
		content    []byte
		mode       os.FileMode
	}{{made.PrivateKey, "PRIVATE KEY", secret, 0o600}, {made.PublicKey, "PUBLIC KEY", open, 0o644}} {
		f, err := os.OpenFile(part.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, part.mode) // a key is never overwritten
		if err != nil {
			return made, err
		}
		if err := pem.Encode(f, &pem.Block{Type: part.kind, Bytes: part.content}); err != nil {
			_ = f.Close() // the first error counts
			return made, fmt.Errorf("writing %s: %w", part.name, err)
		}
		if err := f.Close(); err != nil {
			return made, fmt.Errorf("writing %s: %w", part.name, err)
		}
	}
	return made, nil
}

// publicKey reads a public key: PEM, or 32 bytes in base64.
func publicKey(text []byte) (ed25519.PublicKey, error) {
	if block, _ := pem.Decode(text); block != nil {
		if parsed, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			if public, ok := parsed.(ed25519.PublicKey); ok {
				return public, nil
			}
		}
	} else if raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text))); err == nil && len(raw) == ed25519.PublicKeySize {
		return raw, nil
	}
	return nil, nba.Errorf(nba.CodeInvalid, "the file holds no ed25519 public key; arbiter plugin keys new makes one, and openssl pkey -pubout writes that of a private key")
}

// privateKey reads a private key: PKCS #8 in PEM.
func privateKey(text []byte) (ed25519.PrivateKey, error) {
	if block, _ := pem.Decode(text); block != nil {
		if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if private, ok := parsed.(ed25519.PrivateKey); ok {
				return private, nil
			}
		}
	}
	return nil, nba.Errorf(nba.CodeInvalid, "the file holds no ed25519 private key (PKCS #8, PEM); arbiter plugin keys new makes one")
}

func (a *app) pluginKeysAddCommand() *cobra.Command {
	return &cobra.Command{
		Use: "add NAME FILE", Short: "Trust the signatures of a key, on all nodes",
		Example: "  arbiter plugin keys add release release.key.pub",
		Args:    args("NAME", "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := a.readFile(args[1], maxKeyBytes)
			if err != nil {
				return err
			}
			public, err := publicKey(text)
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				key, err := c.TrustPluginKey(ctx, args[0], public)
				if err != nil {
					return err
				}
				return a.print(key, func(w io.Writer, p paint) { fmt.Fprintf(w, "key %s (%s) is trusted\n", p.bold(key.Name), key.ID) })
			})
		},
	}
}

func (a *app) pluginKeysListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the trusted keys",
		Example: "  arbiter plugin keys list",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				keys, err := c.PluginKeys(ctx)
				if err != nil {
					return err
				}
				return a.print(keys, func(w io.Writer, p paint) {
					if len(keys) == 0 {
						fmt.Fprintln(w, "No key is trusted. arbiter plugin keys new FILE makes one, arbiter plugin keys add NAME FILE.pub trusts it.")
						return
					}
					t := newTable(p, "Key", "Name", "Added", "Public key")
					for _, k := range keys {
						t.AppendRow([]any{p.bold(k.ID), k.Name, stamp(k.AddedAt), base64.StdEncoding.EncodeToString(k.PublicKey)})
					}
					writeTable(w, t, 0)
				})
			})
		},
	}
}

func (a *app) pluginKeysRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm KEY", Short: "Trust a key no longer, by its id or name",
		Long:    "Trust a key no longer. Versions that are active stay active; nothing that the key signed can be pushed or activated\nany more.",
		Example: "  arbiter plugin keys rm release",
		Args:    args("KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				if err := c.DistrustPluginKey(ctx, args[0]); err != nil {
					return err
				}
				return a.print(map[string]string{"removed": args[0]}, func(w io.Writer, p paint) { fmt.Fprintf(w, "key %s is not trusted any more\n", p.bold(args[0])) })
			})
		},
	}
}

func (a *app) pluginSignCommand() *cobra.Command {
	var key, out string
	cmd := &cobra.Command{
		Use: "sign FILE --key KEYFILE", Short: "Sign an artifact; offline",
		Long: "Put a signature into the artifact: ed25519 over its digest, in the section " + artifact.SignatureSection + ". The signed artifact has a\n" +
			"digest of its own, so sign before the first push of a version.",
		Example: "  arbiter plugin sign churn.wasm --key release.key",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if key == "" {
				return usage(cmd, "name the private key: --key FILE; arbiter plugin keys new makes one")
			}
			module, err := a.readFile(args[0], maxModuleBytes)
			if err != nil {
				return err
			}
			text, err := a.readFile(key, maxKeyBytes)
			if err != nil {
				return err
			}
			private, err := privateKey(text)
			if err != nil {
				return err
			}
			signed, err := artifact.Sign(module, private)
			if err != nil {
				return err
			}
			if out == "" {
				out = args[0]
			}
			if err := replaceFile(out, signed); err != nil {
				return err
			}
			by, err := artifact.SignedBy(signed)
			if err != nil {
				return err
			}
			done := map[string]string{"file": out, "signedBy": by, "digest": artifact.Digest(signed)}
			return a.print(done, func(w io.Writer, p paint) {
				fmt.Fprintf(w, "%s is signed by key %s, %s\n", p.bold(out), by, shortDigest(done["digest"]))
			})
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the private key, a PEM `FILE`")
	cmd.Flags().StringVar(&out, "out", "", "the file to write (default: FILE itself)")
	return cmd
}

// replaceFile writes a file in one step, so that an artifact is never half there.
func replaceFile(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error counts
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
