package journey

import (
	"encoding/binary"
	"errors"
)

// Limits of journeys.
const (
	// MaxNameBytes bounds the names of journeys, stages and fields, MaxKeyBytes the keys that tell instances
	// apart, MaxTextBytes a text that is carried along.
	MaxNameBytes, MaxKeyBytes, MaxTextBytes = 64, 64, 128
	// MaxStages, MaxFields and MaxInstances bound a journey: its instances are those of one subject that are
	// open at the same time.
	MaxStages, MaxFields, MaxInstances = 32, 16, 16
	// MaxOpen bounds the open instances of a subject over all journeys.
	MaxOpen = 32
	// MaxMoves is how many moves of a subject are remembered, the newest.
	MaxMoves = 16
	// MaxRules bounds the rules of one Effect.
	MaxRules = 128
	// MaxStateBytes bounds the state of one subject. A change beyond it forgets the moves first and is then
	// refused.
	MaxStateBytes = 16 << 10
	// MaxMS bounds periods: ten years.
	MaxMS = 10 * 366 * 24 * 3600 * 1000
)

// ErrMalformed is returned when bytes are no definition, effect or state of this format.
var ErrMalformed = errors.New("malformed journey")

// Never is the AgainMS of a journey that a subject enters once only.
const Never = -1

// Definition is what the rules of one journey come down to once the catalog has been read. The journey of
// an open instance is the one that its last move was made by.
type Definition struct {
	Name string
	// Instances is how many of a subject may be open at the same time, 1 to MaxInstances. With Replace one
	// more ends the oldest, without it is refused.
	Instances int
	Replace   bool
	// AgainMS is how long after the last one ended no other begins; Never: none ever.
	AgainMS int64
	Stages  []Stage
}

// Stage is one stage of a Definition.
type Stage struct {
	Name string
	// Final ends the instance that comes into it.
	Final bool
	// Emits raises a trigger for every instance that comes into the stage, which expires after WithinMS
	// (0: never) and is taken back when the instance leaves.
	Emits    bool
	WithinMS int64
	// TimeoutMS is after how long the instance goes on to the stage at position To; 0: never.
	TimeoutMS int64
	To        int
}

// DigestBytes is the size of what identifies a definition.
const DigestBytes = 16

const (
	stageFinal   = 1
	stageEmits   = 2
	stageTimeout = 4
)

// Append appends the bytes of d to dst.
func (d *Definition) Append(dst []byte) []byte {
	dst = appendText(dst, d.Name)
	replace := uint64(0)
	if d.Replace {
		replace = 1
	}
	dst = binary.AppendUvarint(dst, uint64(d.Instances)<<1|replace)
	dst = binary.AppendVarint(dst, d.AgainMS)
	dst = binary.AppendUvarint(dst, uint64(len(d.Stages)))
	for i := range d.Stages {
		dst = d.Stages[i].append(dst)
	}
	return dst
}

func (s *Stage) append(dst []byte) []byte {
	flags := byte(0)
	if s.Final {
		flags |= stageFinal
	}
	if s.Emits {
		flags |= stageEmits
	}
	if s.TimeoutMS > 0 {
		flags |= stageTimeout
	}
	dst = append(appendText(dst, s.Name), flags)
	if s.Emits {
		dst = binary.AppendUvarint(dst, uint64(s.WithinMS))
	}
	if s.TimeoutMS > 0 {
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(s.TimeoutMS)), uint64(s.To))
	}
	return dst
}

// Decode reads what Append wrote. The texts are of the memory of b.
func (d *Definition) Decode(b []byte) error {
	r := reader{rest: string(b)}
	d.Name = r.name()
	head := r.uvarint(MaxInstances<<1 | 1)
	d.Instances, d.Replace = int(head>>1), head&1 != 0
	d.AgainMS = r.varint()
	r.bad = r.bad || d.Instances < 1 || d.AgainMS < Never || d.AgainMS > MaxMS
	d.Stages = d.Stages[:0]
	for range r.count(MaxStages) {
		d.Stages = append(d.Stages, r.stage())
	}
	for i := range d.Stages {
		r.bad = r.bad || d.Stages[i].To >= len(d.Stages)
	}
	r.bad = r.bad || len(d.Stages) == 0
	return r.end()
}

func (r *reader) stage() (s Stage) {
	s.Name = r.name()
	flags := r.byte()
	s.Final, s.Emits = flags&stageFinal != 0, flags&stageEmits != 0
	if s.Emits {
		s.WithinMS = int64(r.uvarint(MaxMS))
	}
	if flags&stageTimeout != 0 {
		s.TimeoutMS, s.To = int64(r.uvarint(MaxMS)), int(r.uvarint(MaxStages-1))
		r.bad = r.bad || s.TimeoutMS == 0
	}
	r.bad = r.bad || flags&^(stageFinal|stageEmits|stageTimeout) != 0 || s.Final && s.TimeoutMS != 0
	return s
}

// stage is the position of the stage of a name, or -1.
func (d *Definition) stage(name string) int {
	for i := range d.Stages {
		if d.Stages[i].Name == name {
			return i
		}
	}
	return -1
}

// After is the stage that comes when a stage times out, empty if none does.
func (d *Definition) After(stage string) string {
	at := d.stage(stage)
	if at < 0 || d.Stages[at].TimeoutMS == 0 {
		return ""
	}
	return d.Stages[d.Stages[at].To].Name
}
