package cli

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is the processor time of the calling thread: on a busy machine it says more than the
// clock does.
func threadTime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		return wallTime()
	}
	return time.Duration(now.Nano())
}
