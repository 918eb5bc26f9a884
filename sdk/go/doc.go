// Package arbiter is the guest SDK for Go: scorers and strategies of plugin contract version 1
// (sdk/abi/README.md).
//
// A plugin is a main package, built with GOOS=wasip1 GOARCH=wasm -buildmode=c-shared, that calls Score,
// or Decide, from an init function. For a scorer "arbiter plugin build" generates features.go from
// plugin.yaml: the Shape, and the position of every feature by name.
//
//	func init() {
//		arbiter.Score(shape, func(subject, candidate []float64) float64 {
//			return arbiter.Sigmoid(0.02*subject[SubjectTenure] - 1.5)
//		})
//	}
//
//	func main() {}
//
// A strategy is told a decision that arbitration has ranked and answers which candidates to go on with:
//
//	func init() {
//		arbiter.Decide(func(in *arbiter.Input) (arbiter.Answer, error) {
//			var answer arbiter.Answer
//			for i := range in.Candidates {
//				answer.Picks = append(answer.Picks, arbiter.Pick{Candidate: i})
//			}
//			return answer, nil
//		})
//	}
//
// The module has one caller at a time, and no clock, files, network or arguments; what it prints is
// dropped. Log writes to the plugin's log where the manifest has the capability log. A package variable
// would survive from one customer to the next: do not use any that changes. What allocates makes the
// guest's garbage collector run within a call: keep scorers free of allocation. A strategy never collects: the
// host replaces an instance whose memory has grown by most of what it may.
package arbiter

import "math"

// Shape is the geometry of a scorer, as in plugin.yaml.
type Shape struct {
	// SubjectFeatures and CandidateFeatures are the lengths of the two slices, MaxRows the most
	// candidates of one call.
	SubjectFeatures, CandidateFeatures, MaxRows int
}

// Abstain is what a scorer returns when it has nothing to say: the action keeps its starting
// propensity.
func Abstain() float64 { return math.NaN() }

// Missing tells whether a feature is missing. Missing values are NaN.
func Missing(feature float64) bool { return feature != feature }

// Sigmoid is 1 / (1 + exp(-x)), from a log-odds to a probability.
func Sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
