package arbiter

import "unsafe"

// strategy is the plugin's function and the memory of its calls. The function is set once.
var strategy struct {
	decide        func(in *Input) (Answer, error)
	input, output []byte
	told          Input
	text          []byte
}

// setGCPercent is that of runtime/debug, a package which needs a system to be there.
//
//go:linkname setGCPercent runtime/debug.setGCPercent
func setGCPercent(percent int32) int32

// maxBuffer bounds the input and the answer, in bytes.
const maxBuffer = 256 << 10

// Decide declares the plugin's function. It is told a decision and answers which candidates to go on
// with; an error leaves everything as arbitration ranked it and marks the decision as degraded. The same
// input must give the same answer: take time and chance from Now and Random, and do not range over maps.
// Call Decide once, from an init function.
func Decide(decide func(in *Input) (Answer, error)) {
	strategy.decide = decide
	// A collection would fall into one call of many, and use up its fuel. The host replaces an instance
	// whose memory has grown instead, between two calls.
	setGCPercent(-1)
}

//go:wasmexport arbiter_buffers
func buffers(inputBytes, outputBytes uint32) int64 {
	if strategy.decide == nil || inputBytes > maxBuffer || outputBytes > maxBuffer {
		return -1
	}
	strategy.input, strategy.output = make([]byte, inputBytes+8), make([]byte, outputBytes+8)
	return int64(address(strategy.input))<<32 | int64(address(strategy.output))
}

func address(area []byte) uintptr { return uintptr(unsafe.Pointer(&area[0])) }

//go:wasmexport arbiter_decide
func decide(input unsafe.Pointer, length uint32, output unsafe.Pointer, capacity uint32) int64 {
	if !readInput(&strategy.told, unsafe.Slice((*byte)(input), length)) {
		return -2
	}
	answer, err := strategy.decide(&strategy.told)
	if err != nil {
		return -1
	}
	text := answer.append(strategy.text[:0])
	strategy.text = text
	if len(text) > int(capacity) {
		return -int64(len(text))
	}
	copy(unsafe.Slice((*byte)(output), capacity), text)
	return int64(len(text))
}
