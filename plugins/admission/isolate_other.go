//go:build !linux

package admission

import "syscall"

// childAttributes are those of any process: other systems have no death signal.
func childAttributes() *syscall.SysProcAttr { return nil }

// limitProcess does nothing: the parent's timeout is the only limit on systems without RLIMIT_AS.
func limitProcess(_, _ uint64) error { return nil }
