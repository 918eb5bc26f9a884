package contact

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"
)

// Volume is a budget: at most Max propositions of one action in a period, over all subjects. It is kept
// by leases: the control group parts the budget among the data groups, and each counts its own part where
// it applies decisions.
type Volume struct {
	// Key names the budget in the replicated state. It stays the same when Max changes.
	Key string
	Max uint64
	// Per is the unit of the calendar that a period lasts; NoUnit: there is one period, without end.
	Per Unit
	// Zone is where days begin.
	Zone        *time.Location
	Code, Label string
}

// MaxVolumeKeyBytes bounds the key of a volume.
const MaxVolumeKeyBytes = 128

// Period is one period of a volume, in milliseconds since 1970: from StartMS until before EndMS.
type Period struct{ StartMS, EndMS int64 }

// Period is the period of a moment.
func (v *Volume) Period(now time.Time) Period {
	if v.Per == NoUnit {
		return Period{StartMS: 0, EndMS: math.MaxInt64}
	}
	local := now.In(v.Zone)
	start := Window{Since: v.Per}.since(local).Add(time.Millisecond)
	year, month, day := start.In(v.Zone).Date()
	switch v.Per {
	case Day:
		day++
	case Week:
		day += 7
	default:
		month++
	}
	return Period{StartMS: start.UnixMilli(), EndMS: time.Date(year, month, day, 0, 0, 0, 0, v.Zone).UnixMilli()}
}

// Charge takes one proposition off the budget of a volume in the period that began at StartMS.
type Charge struct {
	Volume  string
	StartMS int64
}

// maxCharges bounds the charges of a decision.
const maxCharges = 4 * MaxClaimed

// ErrCharges is returned for bytes that are no charges.
var ErrCharges = errors.New("the charges of a decision are damaged")

// AppendCharges appends the bytes of charges: a varint with their number, then for each the length of the
// key, the key, and the beginning of the period in 8 bytes.
func AppendCharges(dst []byte, charges []Charge) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(charges)))
	for i := range charges {
		dst = binary.AppendUvarint(dst, uint64(len(charges[i].Volume)))
		dst = append(dst, charges[i].Volume...)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(charges[i].StartMS))
	}
	return dst
}

// DecodeCharges reads what AppendCharges wrote, into dst.
func DecodeCharges(dst []Charge, b []byte) ([]Charge, error) {
	r := claimReader{b: b}
	for range r.uvarint(maxCharges) {
		size := int(r.uvarint(MaxVolumeKeyBytes))
		if r.failed || size == 0 || len(r.b) < size+8 {
			return dst, ErrCharges
		}
		dst = append(dst, Charge{Volume: string(r.b[:size]), StartMS: int64(binary.LittleEndian.Uint64(r.b[size:]))})
		r.b = r.b[size+8:]
	}
	if r.failed || len(r.b) != 0 {
		return dst, ErrCharges
	}
	return dst, nil
}

// Lease is the part of a volume's budget in one period that a data group holds. All numbers only ever
// grow, so that messages about them may come late, twice and in any order.
type Lease struct {
	// Granted is all that the control group ever gave, Returned what was given back of it, and Used what
	// decisions took.
	Granted, Returned, Used uint64
	// EndMS is when the period ends; UsedMS when something was granted or used last.
	EndMS, UsedMS int64
}

// Left is what the group may still use.
func (l *Lease) Left() uint64 {
	if taken := l.Returned + l.Used; l.Granted > taken {
		return l.Granted - taken
	}
	return 0
}

// Use takes one off; false means that nothing is left.
func (l *Lease) Use(nowMS int64) bool {
	if l.Left() == 0 {
		return false
	}
	l.Used++
	l.UsedMS = max(l.UsedMS, nowMS)
	return true
}

// leaseFormat is the first byte of an encoded lease.
const leaseFormat = 1

// Append appends the bytes of the lease: the format, varints granted, returned and used, the end of the
// period and the time of the last use in 8 bytes each.
func (l *Lease) Append(dst []byte) []byte {
	dst = append(dst, leaseFormat)
	for _, n := range [...]uint64{l.Granted, l.Returned, l.Used} {
		dst = binary.AppendUvarint(dst, n)
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(l.EndMS))
	return binary.LittleEndian.AppendUint64(dst, uint64(l.UsedMS))
}

// ErrLease is returned for bytes that are no lease.
var ErrLease = errors.New("the lease of a volume is damaged")

// DecodeLease reads what Append wrote.
func DecodeLease(b []byte) (l Lease, err error) {
	if len(b) == 0 || b[0] != leaseFormat {
		return Lease{}, ErrLease
	}
	r := claimReader{b: b[1:]}
	l.Granted, l.Returned, l.Used = r.uvarint(math.MaxUint64), r.uvarint(math.MaxUint64), r.uvarint(math.MaxUint64)
	if r.failed || len(r.b) != 16 {
		return Lease{}, ErrLease
	}
	l.EndMS, l.UsedMS = int64(binary.LittleEndian.Uint64(r.b)), int64(binary.LittleEndian.Uint64(r.b[8:]))
	return l, nil
}

// Budget is what the control group knows of a volume in one period.
type Budget struct {
	// Max is the budget by the catalog version Version.
	Max     uint64 `json:"max"`
	Version uint64 `json:"version"`
	EndMS   int64  `json:"endMs"`
	// Wanted is set when a group got nothing since others hold what is left: they give some of it back.
	Wanted bool `json:"wanted,omitempty"`
	// Parts are in the order of the numbers of their groups.
	Parts []Part `json:"parts,omitempty"`
}

// Part is what a data group ever got of a budget, and gave back.
type Part struct {
	Group    uint64 `json:"group"`
	Granted  uint64 `json:"granted"`
	Returned uint64 `json:"returned,omitempty"`
}

// Part is that of a group, zero for one that got nothing yet.
func (b *Budget) Part(group uint64) Part {
	if i, ok := b.find(group); ok {
		return b.Parts[i]
	}
	return Part{Group: group}
}

func (b *Budget) find(group uint64) (int, bool) {
	return slices.BinarySearchFunc(b.Parts, group, func(p Part, group uint64) int { return cmp.Compare(p.Group, group) })
}

func (b *Budget) set(p Part) {
	i, ok := b.find(p.Group)
	if !ok {
		b.Parts = slices.Insert(b.Parts, i, p)
	}
	b.Parts[i] = p
}

// Out is what groups hold or have used.
func (b *Budget) Out() (out uint64) {
	for _, p := range b.Parts {
		out += p.Granted - p.Returned
	}
	return out
}

// Grant gives a group another part of the budget and tells all that it was ever given. have is what it
// knows of: what it did not hear of is told again, and nothing is added. Parts get smaller with what is
// left, down to 1, so that all of it can be used; groups is between how many it is parted.
func (b *Budget) Grant(group, have uint64, groups int) (granted uint64) {
	part := b.Part(group)
	if part.Granted > have {
		return part.Granted
	}
	left := b.Max - min(b.Max, b.Out())
	if left == 0 {
		b.Wanted = true
		return part.Granted
	}
	part.Granted += min(max(left/uint64(4*max(groups, 1)), 1), left)
	b.set(part)
	b.Wanted = false
	return part.Granted
}

// Return takes note of all that a group ever gave back.
func (b *Budget) Return(group, returned uint64) {
	if i, ok := b.find(group); ok {
		p := &b.Parts[i]
		p.Returned = min(max(p.Returned, returned), p.Granted)
	}
}
