package admission

import "syscall"

// childAttributes make the child end with its parent and keep it out of the terminal's signals.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// limitProcess bounds the calling process for good.
func limitProcess(memory, cpuSeconds uint64) error {
	const maxFile = 256 << 20
	for resource, limit := range map[int]uint64{
		syscall.RLIMIT_AS: memory, syscall.RLIMIT_CPU: cpuSeconds, syscall.RLIMIT_CORE: 0, syscall.RLIMIT_FSIZE: maxFile,
	} {
		if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			return err
		}
	}
	return nil
}
