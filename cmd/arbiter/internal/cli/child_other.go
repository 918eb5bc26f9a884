//go:build !linux

package cli

import "syscall"

// childAttributes make a child process one of its own group, so that Ctrl-C reaches it through its
// parent alone.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
