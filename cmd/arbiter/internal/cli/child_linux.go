package cli

import "syscall"

// childAttributes make a child process one of its own group, so that Ctrl-C reaches it through its
// parent alone, and let it end when its parent is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
