package command

import "encoding/binary"

// MaxFired bounds the timers of one FireTimers.
const MaxFired = 4096

// FireTimers fires the timers of a data group that are due, in the order of their times. Nothing is searched
// for: they lie in that order.
type FireTimers struct {
	// UntilMS is the time up to which timers are due, in milliseconds since 1970.
	UntilMS int64
	// Limit bounds how many fire: 1 to MaxFired. The answer tells how many did.
	Limit uint32
}

// Append appends the operation to dst. It never fails.
func (o *FireTimers) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, TimersFired)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.UntilMS))
	return endOp(binary.LittleEndian.AppendUint32(dst, o.Limit), at), nil
}

// Decode reads the body of a TimersFired.
func (o *FireTimers) Decode(body []byte) error {
	r := reader{rest: body}
	o.UntilMS = int64(r.u64())
	if b := r.take(4); b != nil {
		o.Limit = binary.LittleEndian.Uint32(b)
	}
	r.bad = r.bad || o.Limit == 0 || o.Limit > MaxFired
	return r.end()
}
