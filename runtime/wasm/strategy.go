package wasm

import (
	"context"
	"fmt"

	"github.com/arbiterhq/arbiter/sdk/abi"
)

// Decide gives a strategy its input, for so many candidates, and returns its answer, which is valid
// until the next call, with the fuel that was used. An input or an answer that does not fit the guest's
// buffers makes them grow, up to abi.MaxBytes each; the guest is then called again. An error is a
// *GuestError, after which the Instance must be discarded, or tells that the input is too large.
func (i *Instance) Decide(ctx context.Context, input []byte, candidates int, call Call) (output []byte, fuelUsed uint64, err error) {
	if len(input) > abi.MaxBytes {
		return nil, 0, fmt.Errorf("an input of %d bytes is larger than the %d that a strategy takes", len(input), abi.MaxBytes)
	}
	if i.guest != nil {
		i.answer, fuelUsed, err = i.exchange(input, i.answer[:0], i.pool.spec.fuel(candidates))
		return i.answer, fuelUsed, err
	}
	if len(input) > i.inCap {
		if err := i.buffers(ctx, bufferSize(len(input)), i.outCap); err != nil {
			return nil, 0, err
		}
	}
	granted := i.pool.spec.fuel(candidates)
	for again := false; ; again = true {
		copy(i.view[i.in:i.in+i.inCap], input)
		i.host.begin(call)
		i.stack = [6]uint64{uint64(i.in), uint64(len(input)), uint64(i.out), uint64(i.outCap)}
		used, err := i.call(ctx, i.decide, abi.ExportDecide, i.stack[:4], granted)
		fuelUsed += used
		if err != nil {
			return nil, fuelUsed, err
		}
		switch n := int64(i.stack[0]); {
		case n >= 0 && n <= int64(i.outCap):
			return i.view[i.out : i.out+int(n) : i.out+int(n)], fuelUsed, nil
		case n > 0:
			return nil, fuelUsed, &GuestError{Reason: ReasonLayout, Function: abi.ExportDecide, Detail: fmt.Sprintf(
				"told that it wrote %d bytes into room for %d", n, i.outCap)}
		case n >= -int64(i.outCap):
			return nil, fuelUsed, &GuestError{Reason: ReasonStatus, Function: abi.ExportDecide, Detail: fmt.Sprintf("returned status %d", n)}
		case again || n < -abi.MaxBytes:
			return nil, fuelUsed, &GuestError{Reason: ReasonLayout, Function: abi.ExportDecide, Detail: fmt.Sprintf(
				"asked for more room than it had asked for before, or than %d bytes", abi.MaxBytes)}
		default:
			if err := i.buffers(ctx, i.inCap, bufferSize(int(-n))); err != nil {
				return nil, fuelUsed, err
			}
		}
	}
}

// bufferSize is the room that is asked for when so many bytes are needed.
func bufferSize(needed int) int {
	size := abi.StartBytes
	for size < needed {
		size *= 2
	}
	return min(size, abi.MaxBytes)
}

// buffers asks the guest where its input and its answer of so many bytes go, and checks what it says.
func (i *Instance) buffers(ctx context.Context, inCap, outCap int) error {
	function := i.module.ExportedFunction(abi.ExportBuffers)
	if function == nil {
		return fmt.Errorf("the module has no export %s", abi.ExportBuffers)
	}
	i.stack = [6]uint64{uint64(inCap), uint64(outCap)}
	if _, err := i.call(ctx, function, abi.ExportBuffers, i.stack[:2], i.pool.spec.fuel(1)); err != nil {
		return err
	}
	in, out := uint64(i.stack[0]>>32), uint64(uint32(i.stack[0]))
	inEnd, outEnd, size := in+uint64(inCap), out+uint64(outCap), uint64(len(i.view))
	bad := func(detail string) error {
		return &GuestError{Reason: ReasonLayout, Function: abi.ExportBuffers, Detail: fmt.Sprintf(
			"%s (%d bytes of input, %d of output, %d of memory)", detail, inCap, outCap, size)}
	}
	switch {
	case int64(i.stack[0]) == abi.ReserveRefused:
		return bad("has no room")
	case in%8 != 0 || out%8 != 0:
		return bad("returned an offset that is not a multiple of 8")
	case inEnd > size || outEnd > size:
		return bad("returned an area beyond the end of the memory")
	case in < outEnd && out < inEnd:
		return bad("returned input and output areas that overlap")
	}
	i.in, i.out, i.inCap, i.outCap = int(in), int(out), inCap, outCap
	return nil
}
