package command

import (
	"encoding/binary"

	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const (
	flagIfVersion = 1 << 0
	flagMerge     = 1 << 1
	flagForget    = 1 << 2
	flagsKnown    = flagIfVersion | flagMerge | flagForget

	// extendedVersion is that of a SubjectPut or SubjectPatch whose record is of format 2, of a patch
	// that forgets consents, and of a SubjectDelete that notes decisions.
	extendedVersion = 2

	// NotingVersion is that of a SubjectDelete that notes decisions.
	NotingVersion = extendedVersion
)

// Put stores a whole subject. Key is that of AppendSubjectKey, Record an encoded record whose
// version does not matter: the state machine numbers versions.
type Put struct {
	Key    []byte
	Record []byte
	// IfVersion, when HasIf, must be the present version; 0 means that the subject must not exist.
	IfVersion uint64
	HasIf     bool
	// Merge sets the attributes and consents of Record in a subject that exists and leaves its others.
	Merge bool
}

// Append appends the operation to dst. It never fails.
func (p *Put) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, SubjectPut)
	dst[at-opHeadBytes+1] = p.Version()
	dst = appendGuard(dst, p.HasIf, p.IfVersion, p.Merge, false)
	dst = append(dst, p.Key...)
	return endOp(append(dst, p.Record...), at), nil
}

// Version is that of the operation that Append makes.
func (p *Put) Version() uint8 { return versionOf(p.Record, false) }

func versionOf(rec []byte, forget bool) uint8 {
	if forget || record.IsExtended(rec) {
		return extendedVersion
	}
	return opVersion
}

// Size is at least the bytes Append will append.
func (p *Put) Size() int { return opHeadBytes + 9 + len(p.Key) + len(p.Record) }

// Decode reads the body of a SubjectPut. Whether Record is a record is for the caller to see.
func (p *Put) Decode(body []byte) error {
	r := reader{rest: body}
	p.HasIf, p.IfVersion, p.Merge, _ = r.guard()
	p.Key = r.subject()
	p.Record = r.rest
	return r.err()
}

// Patch changes part of a subject that exists.
type Patch struct {
	Key []byte
	// Set is an encoded record with the attributes to set. Its purpose sets do not matter; consents beyond
	// them are set, where nba.Unanswered removes.
	Set []byte
	// Unset are the ids to remove, ascending.
	Unset                []nba.AttributeID
	Grant, Refuse, Clear nba.PurposeSet
	// Forget removes all consents first.
	Forget    bool
	IfVersion uint64
	HasIf     bool
}

// Version is that of the operation that Append makes.
func (p *Patch) Version() uint8 { return versionOf(p.Set, p.Forget) }

// Append appends the operation to dst. It never fails.
func (p *Patch) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, SubjectPatch)
	dst[at-opHeadBytes+1] = p.Version()
	dst = appendGuard(dst, p.HasIf, p.IfVersion, false, p.Forget)
	dst = append(dst, p.Key...)
	for _, set := range [...]nba.PurposeSet{p.Grant, p.Refuse, p.Clear} {
		dst = binary.AppendUvarint(dst, uint64(set))
	}
	dst = binary.AppendUvarint(dst, uint64(len(p.Unset)))
	for _, id := range p.Unset {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(id))
	}
	return endOp(append(dst, p.Set...), at), nil
}

// Decode reads the body of a SubjectPatch. It reuses Unset.
func (p *Patch) Decode(body []byte) error {
	r := reader{rest: body}
	p.HasIf, p.IfVersion, _, p.Forget = r.guard()
	p.Key = r.subject()
	p.Grant, p.Refuse, p.Clear = nba.PurposeSet(r.uvarint()), nba.PurposeSet(r.uvarint()), nba.PurposeSet(r.uvarint())
	n := r.uvarint()
	if n > nba.MaxAttributes {
		return ErrMalformed
	}
	ids := r.take(2 * int(n))
	p.Unset = p.Unset[:0]
	for i := 0; i+1 < len(ids); i += 2 {
		id := nba.AttributeID(binary.LittleEndian.Uint16(ids[i:]))
		if len(p.Unset) > 0 && id <= p.Unset[len(p.Unset)-1] {
			return ErrMalformed
		}
		p.Unset = append(p.Unset, id)
	}
	p.Set = r.rest
	return r.err()
}

// Delete erases a subject with its history and its decision records.
type Delete struct {
	Key       []byte
	IfVersion uint64
	HasIf     bool
	// Note notes the ids of the decisions that go with the subject. It is the version of the operation,
	// which Decode does not see.
	Note bool
}

// Version is that of the operation that Append makes.
func (d *Delete) Version() uint8 {
	if d.Note {
		return extendedVersion
	}
	return opVersion
}

// Append appends the operation to dst. It never fails.
func (d *Delete) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, SubjectDelete)
	dst[at-opHeadBytes+1] = d.Version()
	dst = appendGuard(dst, d.HasIf, d.IfVersion, false, false)
	return endOp(append(dst, d.Key...), at), nil
}

// Decode reads the body of a SubjectDelete.
func (d *Delete) Decode(body []byte) error {
	r := reader{rest: body}
	d.HasIf, d.IfVersion, _, _ = r.guard()
	d.Key = r.subject()
	return r.end()
}

func appendGuard(dst []byte, hasIf bool, ifVersion uint64, merge, forget bool) []byte {
	flags := byte(0)
	if forget {
		flags |= flagForget
	}
	if merge {
		flags |= flagMerge
	}
	if !hasIf {
		return append(dst, flags)
	}
	return binary.LittleEndian.AppendUint64(append(dst, flags|flagIfVersion), ifVersion)
}

func (r *reader) guard() (hasIf bool, ifVersion uint64, merge, forget bool) {
	flags := r.u8()
	if flags&^flagsKnown != 0 {
		r.bad = true
	}
	if hasIf = flags&flagIfVersion != 0; hasIf {
		ifVersion = r.u64()
	}
	return hasIf, ifVersion, flags&flagMerge != 0, flags&flagForget != 0
}

func (r *reader) err() error {
	if r.bad {
		return ErrMalformed
	}
	return nil
}

// end is err for a body that has no more fields.
func (r *reader) end() error {
	if len(r.rest) != 0 {
		return ErrMalformed
	}
	return r.err()
}
