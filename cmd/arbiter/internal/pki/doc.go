// Package pki makes the certificates of a cluster and reads them: an authority of its own (NewAuthority,
// Authority.Issue), and Files, which gives TLS configurations that follow the files on disk, so that
// certificates are exchanged without a restart.
package pki
