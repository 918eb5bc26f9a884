package router

import (
	"encoding/binary"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Slots is the number of hash slots. It never changes.
const Slots = 4096

const (
	slotBits    = 12
	slotInULID  = 6 // the byte of a ULID where its entropy begins
	entropySize = 10
)

// Slot is the hash slot of a normalized subject: the top 12 bits of the xxhash64 of its type's
// position and its id.
func Slot(ref nba.SubjectRef) int {
	var buffer [2 + nba.MaxSubjectIDBytes]byte
	return slotOfKey(command.AppendSubjectKey(buffer[:0], ref))
}

func slotOfKey(key []byte) int { return int(xxhash.Sum64(key) >> (64 - slotBits)) }

// groupOf gives each group an equal, contiguous range of slots.
func groupOf(slot, groups int) int { return slot * groups / Slots }

// NewDecisionID makes the id of a decision for a normalized subject: a ULID of the time given, whose
// entropy begins with the subject's slot. entropy supplies the other 68 bits; ids of one subject
// within one millisecond are in no particular order.
func NewDecisionID(ref nba.SubjectRef, now time.Time, entropy [entropySize]byte) string {
	var id ulid.ULID
	_ = id.SetTime(ulid.Timestamp(now)) // it fails only after the year 10889
	copy(id[slotInULID:], entropy[:])
	slot := uint16(Slot(ref))
	head := binary.BigEndian.Uint16(id[slotInULID:])
	binary.BigEndian.PutUint16(id[slotInULID:], slot<<4|head&0xf)
	return id.String()
}

// SlotOfDecision is the slot a decision id carries; ok is false when it is not an id of ours.
func SlotOfDecision(id string) (slot int, ok bool) {
	parsed, err := ulid.ParseStrict(id)
	if err != nil {
		return 0, false
	}
	return int(binary.BigEndian.Uint16(parsed[slotInULID:]) >> 4), true
}
