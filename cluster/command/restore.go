package command

import (
	"encoding/binary"
)

// A restore fills the empty groups of a new cluster from a backup, through their logs, so that all replicas
// come to hold the same. Each group is opened for it, filled, and closed; in between it takes nothing else.

// BeginRestore opens an empty group for a restore. Begun again for the same backup it changes nothing.
type BeginRestore struct {
	// Backup names the backup, so that two of them are never mixed.
	Backup [16]byte
	// Base is added to the log index wherever the state keeps one: what was kept before the restore stays
	// older than what comes after.
	Base uint64
}

// LoadPairs puts keys into a group that is being restored. Loading them again changes nothing.
type LoadPairs struct {
	Backup [16]byte
	// Pairs are those of AppendPair, one after the other.
	Pairs []byte
}

// EndRestore closes a restore. It is refused unless the state of the group has the digest.
type EndRestore struct {
	Backup [16]byte
	Digest Digest
	// Parts are pairs that take effect together, at the end: the parts of the control state.
	Parts []byte
}

// Append appends the operation to dst. It never fails.
func (o *BeginRestore) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, RestoreBegun)
	dst = append(dst, o.Backup[:]...)
	return endOp(binary.LittleEndian.AppendUint64(dst, o.Base), at), nil
}

// Decode reads the body of a RestoreBegun.
func (o *BeginRestore) Decode(body []byte) error {
	r := reader{rest: body}
	copy(o.Backup[:], r.take(len(o.Backup)))
	o.Base = r.u64()
	return r.end()
}

// Append appends the operation to dst. It never fails.
func (o *LoadPairs) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, PairsLoaded)
	dst = append(dst, o.Backup[:]...)
	return endOp(append(dst, o.Pairs...), at), nil
}

// Decode reads the body of a PairsLoaded. Pairs shares its memory.
func (o *LoadPairs) Decode(body []byte) error {
	r := reader{rest: body}
	copy(o.Backup[:], r.take(len(o.Backup)))
	if r.bad {
		return ErrMalformed
	}
	o.Pairs = r.rest
	return checkPairs(o.Pairs)
}

// Append appends the operation to dst. It never fails.
func (o *EndRestore) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, RestoreEnded)
	dst = append(dst, o.Backup[:]...)
	dst = AppendDigest(dst, o.Digest)
	return endOp(append(dst, o.Parts...), at), nil
}

// Decode reads the body of a RestoreEnded. Parts shares its memory.
func (o *EndRestore) Decode(body []byte) error {
	r := reader{rest: body}
	copy(o.Backup[:], r.take(len(o.Backup)))
	o.Digest = r.digest()
	if r.bad {
		return ErrMalformed
	}
	o.Parts = r.rest
	return checkPairs(o.Parts)
}

// AppendPair appends a key of a bucket and its value: bucket (1), the lengths of both as uvarints, both.
func AppendPair(dst []byte, bucket uint8, key, value []byte) []byte {
	dst = append(dst, bucket)
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(append(dst, key...), value...)
}

// NextPair takes the first pair off; ok is false if there is no whole one. They share the memory.
func NextPair(pairs []byte) (bucket uint8, key, value, rest []byte, ok bool) {
	if len(pairs) == 0 {
		return 0, nil, nil, nil, false
	}
	bucket, rest = pairs[0], pairs[1:]
	keyLen, n := binary.Uvarint(rest)
	if n <= 0 {
		return 0, nil, nil, nil, false
	}
	rest = rest[n:]
	valueLen, n := binary.Uvarint(rest)
	if n <= 0 || keyLen == 0 || keyLen > uint64(len(rest)-n) || valueLen > uint64(len(rest)-n)-keyLen {
		return 0, nil, nil, nil, false
	}
	rest = rest[n:]
	return bucket, rest[:keyLen:keyLen], rest[keyLen : keyLen+valueLen : keyLen+valueLen], rest[keyLen+valueLen:], true
}

func checkPairs(pairs []byte) error {
	for len(pairs) > 0 {
		_, _, _, rest, ok := NextPair(pairs)
		if !ok {
			return ErrMalformed
		}
		pairs = rest
	}
	return nil
}
