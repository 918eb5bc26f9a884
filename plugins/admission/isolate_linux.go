package admission

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// childNice lets decisions go first while a module is compiled. The child still gets about a tenth of a
// busy processor, so that it ends within its time.
const childNice = 10

// childAttributes make the child end with its parent and keep it out of the terminal's signals.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// limitProcess bounds the calling process for good, and lets others go first.
func limitProcess(memory, cpuSeconds uint64) error {
	const maxFile = 256 << 20
	for resource, limit := range map[int]uint64{
		syscall.RLIMIT_AS: memory, syscall.RLIMIT_CPU: cpuSeconds, syscall.RLIMIT_CORE: 0, syscall.RLIMIT_FSIZE: maxFile,
	} {
		if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			return err
		}
	}
	return yieldProcess()
}

// yieldProcess lowers the priority of the calling process: of each thread that there is, since that is how
// Linux counts; threads to come inherit it.
func yieldProcess() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("listing the threads: %w", err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return fmt.Errorf("listing the threads: %w", err)
		}
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, id, childNice); err != nil && err != syscall.ESRCH { // it may have ended
			return fmt.Errorf("lowering the priority: %w", err)
		}
	}
	return nil
}
