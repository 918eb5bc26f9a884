package rollout

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Arm is one of the two versions that are compared.
type Arm int

// The arms.
const (
	ArmIncumbent Arm = 0
	ArmCandidate Arm = 1
	arms             = 2
)

// String names the arm.
func (a Arm) String() string {
	if a == ArmCandidate {
		return "candidate"
	}
	return "incumbent"
}

// places is how finely subjects are spread.
const places = 1_000_000

// Salt is the beginning of the hash of a subject, from the salt of a rollout.
type Salt struct{ digest xxhash.Digest }

// NewSalt hashes a salt.
func NewSalt(salt string) Salt {
	var s Salt
	s.digest.Reset()
	_, _ = s.digest.WriteString(salt)
	_, _ = s.digest.Write([]byte{0})
	return s
}

// Hash is a number that depends on the salt and the subject alone.
func (s Salt) Hash(ref nba.SubjectRef) uint64 {
	d := s.digest
	_, _ = d.WriteString(string(ref.Type))
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(ref.ID)
	return d.Sum64()
}

// Assign is the arm of a subject while permille of the subjects get the candidate. A subject has one place
// among a million, so it keeps its arm, and raising the share moves only the difference.
func Assign(hash uint64, permille int) Arm {
	place, _ := bits.Mul64(hash, places)
	if place < uint64(permille)*(places/1000) {
		return ArmCandidate
	}
	return ArmIncumbent
}
