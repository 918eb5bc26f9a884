package wasm

import (
	"errors"
	"fmt"
	"strings"
)

// Reason classifies what went wrong inside a guest. Reasons are label values of metrics.
type Reason string

// The reasons.
const (
	ReasonFuel   Reason = "fuel"   // the fuel granted to the call was used up
	ReasonTrap   Reason = "trap"   // unreachable, division by zero, bad indirect call and the like
	ReasonMemory Reason = "memory" // access beyond the linear memory
	ReasonStack  Reason = "stack"  // call stack overflow
	ReasonStatus Reason = "status" // the guest returned a status other than 0
	ReasonState  Reason = "state"  // the guest answered otherwise than an instance that has seen no other call
	ReasonLayout Reason = "layout" // arbiter_reserve answered with unusable offsets
)

// GuestError tells that a guest, not the host, failed. The Instance it happened in must be discarded.
type GuestError struct {
	Reason Reason
	// Function is the export that was called.
	Function string
	// Detail is for people: the kind of trap or the status. It holds no guest-supplied text.
	Detail string
}

// Error implements error.
func (e *GuestError) Error() string {
	return fmt.Sprintf("guest function %s: %s", e.Function, e.Detail)
}

// ReasonOf is the Reason of the first *GuestError in err's chain, or "".
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*GuestError](err); ok {
		return e.Reason
	}
	return ""
}

// Errors of the pool.
var (
	// ErrBusy is returned when no instance became free within Config.MaxWait, or when
	// Config.MaxWaiters callers wait already.
	ErrBusy = errors.New("every instance of the module is busy")
	// ErrClosed is returned when a Sandbox is used after Close.
	ErrClosed = errors.New("the sandbox is closed")
)

// guestError classifies an error of a call. fuelLeft is the fuel counter after it.
func guestError(function string, err error, fuelLeft int64) *GuestError {
	// The first line names the trap; the rest is a stack trace with names chosen by the guest.
	first, _, _ := strings.Cut(err.Error(), "\n")
	first = strings.TrimSuffix(strings.TrimPrefix(first, "wasm error: "), " (recovered by wazero)")
	e := &GuestError{Reason: ReasonTrap, Function: function, Detail: "trapped: " + first}
	switch {
	case fuelLeft < 0:
		e.Reason, e.Detail = ReasonFuel, "used up its fuel"
	case strings.Contains(first, "stack overflow"):
		e.Reason = ReasonStack
	case strings.Contains(first, "out of bounds memory access"):
		e.Reason = ReasonMemory
	}
	return e
}
