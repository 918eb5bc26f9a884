//go:build !linux

package cli

import "time"

// threadTime is the time that passed: this system tells no processor time of a thread.
func threadTime() time.Duration { return wallTime() }
