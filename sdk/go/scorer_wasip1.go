package arbiter

import "unsafe"

// scorer is the plugin's function and the memory of its calls. It is set once, before the first call.
var scorer struct {
	shape  Shape
	score  func(subject, candidate []float64) float64
	input  []float64 // with the subject's part rounded up to 16 bytes
	output []float64
}

// Score declares the plugin's function. It scores one candidate action of one subject, with the
// features in the order of plugin.yaml and NaN for missing ones, and returns a probability between 0
// and 1 (with output: value any number), or Abstain. Equal input must give an equal result; a panic
// costs the call. Call it once, from an init function.
func Score(shape Shape, score func(subject, candidate []float64) float64) {
	scorer.shape, scorer.score = shape, score
	floats := aligned(shape.SubjectFeatures) + shape.MaxRows*shape.CandidateFeatures
	// One more than needed, so that the area can begin at a multiple of 16.
	scorer.input = make([]float64, floats+2)
	if uintptr(unsafe.Pointer(&scorer.input[0]))%16 != 0 {
		scorer.input = scorer.input[1:]
	}
	scorer.output = make([]float64, shape.MaxRows+1)
}

func aligned(floats int) int { return (floats + 1) &^ 1 }

func serves(subjects, rows, candidates uint32) bool {
	s := &scorer.shape
	return scorer.score != nil && int(subjects) == s.SubjectFeatures && int(candidates) == s.CandidateFeatures && int(rows) <= s.MaxRows
}

//go:wasmexport arbiter_reserve
func reserve(subjects, rows, candidates uint32) int64 {
	if !serves(subjects, rows, candidates) {
		return -1
	}
	return int64(uintptr(unsafe.Pointer(&scorer.input[0])))<<32 | int64(uintptr(unsafe.Pointer(&scorer.output[0])))
}

//go:wasmexport arbiter_score
func score(subject unsafe.Pointer, subjects uint32, candidate unsafe.Pointer, rows, candidates uint32, out unsafe.Pointer) int32 {
	if !serves(subjects, rows, candidates) {
		return 1
	}
	features := unsafe.Slice((*float64)(subject), subjects)
	matrix := unsafe.Slice((*float64)(candidate), rows*candidates)
	scores := unsafe.Slice((*float64)(out), rows)
	for row := range scores {
		begin := row * int(candidates)
		scores[row] = scorer.score(features, matrix[begin:begin+int(candidates)])
	}
	return 0
}
