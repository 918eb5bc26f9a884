package cli

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/pki"
	"github.com/spf13/cobra"
)

func (a *app) tlsCommand() *cobra.Command {
	return noun("tls", "Certificates for the nodes of a cluster",
		`  arbiter tls ca --dir ./pki
  arbiter tls cert --ca ./pki --node n1 --host n1.example.net --host 10.0.0.1
  arbiter tls show ./n1.pem`,
		a.tlsAuthorityCommand(), a.tlsCertificateCommand(), a.tlsShowCommand())
}

// madeFiles is what the commands below print.
type madeFiles struct {
	Certificate string    `json:"certificate"`
	Key         string    `json:"key"`
	NotAfter    time.Time `json:"notAfter"`
}

func (a *app) tlsAuthorityCommand() *cobra.Command {
	var folder, name string
	var days int
	cmd := &cobra.Command{
		Use: "ca [--dir FOLDER]", Short: "Make the authority that signs the certificates of a cluster",
		Long: "Makes the authority of a cluster: " + pki.AuthorityCertificate + ", which every node and client gets, and " + pki.AuthorityKey + ", which\n" +
			"signs and stays where only the operator can read it; no node needs it.",
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			pair, err := pki.NewAuthority(name, daysOf(days))
			if err != nil {
				return usage(cmd, "%s", err)
			}
			return a.writePair(pair, filepath.Join(folder, pki.AuthorityCertificate), filepath.Join(folder, pki.AuthorityKey), false)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&folder, "dir", ".", "the `FOLDER` for both files")
	flags.StringVar(&name, "name", "Arbiter cluster", "what the authority calls itself")
	flags.IntVar(&days, "days", int(pki.DefaultAuthorityValidity.Hours()/24), "how long it is valid")
	return cmd
}

func (a *app) tlsCertificateCommand() *cobra.Command {
	var s pki.Subject
	var authority, out string
	var days int
	var replace bool
	cmd := &cobra.Command{
		Use: "cert --ca FOLDER --node ID [--host NAME]...", Short: "Issue the certificate of a node",
		Long: "Issues a certificate with its key for one node: the other nodes know it by its id, clients by the hosts (localhost,\n" +
			"127.0.0.1 and ::1 are always among them). Running nodes take exchanged files up by themselves (--replace).",
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ca, err := pki.LoadAuthority(authority)
			if err != nil {
				return withHint(err, "make an authority with arbiter tls ca, and name its folder with --ca")
			}
			s.Validity = daysOf(days)
			pair, err := ca.Issue(s)
			if err != nil {
				return usage(cmd, "%s", err)
			}
			name := s.Node
			if name == "" {
				name = strings.ReplaceAll(s.Hosts[0], ":", "_")
			}
			return a.writePair(pair, filepath.Join(out, name+".pem"), filepath.Join(out, name+".key"), replace)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&authority, "ca", ".", "the `FOLDER` of the authority")
	flags.StringVar(&s.Node, "node", "", "the `ID` of the node, as in --node-id")
	flags.StringArrayVar(&s.Hosts, "host", nil, "a `NAME` or address under which clients reach it; may be repeated")
	flags.StringVar(&out, "dir", ".", "the `FOLDER` for both files, which are named after the node")
	flags.IntVar(&days, "days", int(pki.DefaultValidity.Hours()/24), "how long it is valid, at most as long as the authority")
	flags.BoolVar(&replace, "replace", false, "exchange files that are there")
	return cmd
}

func daysOf(days int) time.Duration { return time.Duration(days) * 24 * time.Hour }

func (a *app) writePair(pair *pki.Pair, certificate, key string, replace bool) error {
	if err := pair.Write(certificate, key, replace); err != nil {
		return withHint(err, "choose another folder with --dir")
	}
	made := madeFiles{Certificate: certificate, Key: key, NotAfter: pair.NotAfter.UTC()}
	return a.print(made, func(w io.Writer, _ paint) {
		fmt.Fprintf(w, "certificate  %s\nkey          %s  (keep it secret)\nvalid until  %s\n", certificate, key, made.NotAfter.Format(time.DateOnly))
	})
}

// certificateInfo is what arbiter tls show tells of one certificate.
type certificateInfo struct {
	Name      string    `json:"name"`
	Issuer    string    `json:"issuer"`
	Authority bool      `json:"authority"`
	Hosts     []string  `json:"hosts,omitempty"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
}

func (a *app) tlsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show FILE", Short: "What a certificate says",
		Args: args("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			raw, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("reading the certificate: %w", err)
			}
			all, err := certificatesIn(raw)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return a.print(all, func(w io.Writer, _ paint) {
				for _, c := range all {
					kind := "certificate"
					if c.Authority {
						kind = "authority"
					}
					fmt.Fprintf(w, "%-12s %s, issued by %s\n", kind, c.Name, c.Issuer)
					fmt.Fprintf(w, "valid        %s to %s\n", c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
					if len(c.Hosts) > 0 {
						fmt.Fprintf(w, "hosts        %s\n", strings.Join(c.Hosts, ", "))
					}
				}
			})
		},
	}
}

func certificatesIn(raw []byte) (all []certificateInfo, err error) {
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading a certificate: %w", err)
		}
		info := certificateInfo{Name: c.Subject.CommonName, Issuer: c.Issuer.CommonName, Authority: c.IsCA, Hosts: c.DNSNames,
			NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC()}
		for _, ip := range c.IPAddresses {
			info.Hosts = append(info.Hosts, ip.String())
		}
		all = append(all, info)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("it holds no certificate in PEM form")
	}
	return all, nil
}
