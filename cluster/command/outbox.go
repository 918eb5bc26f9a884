package command

import (
	"encoding/binary"
	"fmt"

	"github.com/oklog/ulid/v2"
)

// EffectOutbox is what a decision sends: AppendOutbox. The entries are in the state from the moment the
// decision is.
const EffectOutbox SectionTag = 51

// Limits of deliveries.
const (
	// MaxPayload bounds what one delivery carries.
	MaxPayload = 24 << 10
	// MaxOutbox bounds the deliveries of one decision.
	MaxOutbox = 16
	// MaxDeliveryChanges bounds the changes of one ChangeDeliveries.
	MaxDeliveryChanges = 1 << 10
)

// DeliveryState is where a delivery stands. The numbers are stored: append only.
type DeliveryState uint8

// The states.
const (
	// DeliveryPending: it is sent when it is due, for the first time or again.
	DeliveryPending DeliveryState = 0
	// DeliverySent: the sink took it.
	DeliverySent DeliveryState = 1
	// DeliveryDead: it was given up. It can be replayed.
	DeliveryDead DeliveryState = 2
	// DeliveryExpired: its time passed before the sink took it.
	DeliveryExpired DeliveryState = 3
	// DeliveryCancelled: it was taken back before the sink took it.
	DeliveryCancelled DeliveryState = 4

	deliveryStateEnd = 5
)

// String is the name of s in answers and metrics.
func (s DeliveryState) String() string {
	names := [deliveryStateEnd]string{"pending", "sent", "dead", "expired", "cancelled"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// DeliveryStates are all states, in the order of their numbers.
func DeliveryStates() (states []DeliveryState) {
	for s := DeliveryPending; s < deliveryStateEnd; s++ {
		states = append(states, s)
	}
	return states
}

// Delivery is an entry of the outbox of a group: one proposition on its way to a channel. Its id is stable:
// whatever is sent again is sent under the same.
type Delivery struct {
	// ID is a ULID whose entropy begins with the subject's slot, as that of the decision.
	ID, Decision ulid.ULID
	Key          []byte // of the subject
	State        DeliveryState
	// CreatedMS is when it was decided, DueMS from when on it is sent, ExpiresMS when it is of no use any
	// more (0: never), RaisedMS when what raised it happened, ChangedMS when it was tried or changed last.
	CreatedMS, DueMS, ExpiresMS, RaisedMS, ChangedMS int64
	// Attempts is how often it was tried since it was made or replayed.
	Attempts uint32
	// Origin and EventType are those of the trigger.
	Origin, EventType string
	Channel           string
	// Sink is the name of the server's setting that says where it goes.
	Sink              string
	Action, Treatment string
	// Problem is why the last attempt was not taken, without anything of the receiver's answer but its
	// status.
	Problem string
	// Payload is what is sent, to the byte. It is dropped when the delivery is sent, expired or cancelled.
	Payload []byte
}

const deliveryFormat = 1

// Append appends the bytes of d to dst.
func (d *Delivery) Append(dst []byte) []byte {
	dst = append(dst, deliveryFormat, byte(d.State))
	dst = append(append(append(dst, d.ID[:]...), d.Decision[:]...), d.Key...)
	for _, ms := range [...]int64{d.CreatedMS, d.DueMS, d.ExpiresMS, d.RaisedMS, d.ChangedMS} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(ms))
	}
	dst = binary.LittleEndian.AppendUint32(dst, d.Attempts)
	for _, text := range [...]string{d.Origin, d.EventType, d.Channel, d.Sink, d.Action, d.Treatment, d.Problem} {
		dst = appendText(dst, text)
	}
	return append(binary.AppendUvarint(dst, uint64(len(d.Payload))), d.Payload...)
}

func (r *reader) delivery(d *Delivery) {
	r.bad = r.bad || r.u8() != deliveryFormat
	d.State = DeliveryState(r.u8())
	r.bad = r.bad || d.State >= deliveryStateEnd
	copy(d.ID[:], r.take(len(d.ID)))
	copy(d.Decision[:], r.take(len(d.Decision)))
	d.Key = r.subject()
	for _, ms := range [...]*int64{&d.CreatedMS, &d.DueMS, &d.ExpiresMS, &d.RaisedMS, &d.ChangedMS} {
		*ms = int64(r.u64())
	}
	d.Attempts = r.u32()
	for _, text := range [...]*string{&d.Origin, &d.EventType, &d.Channel, &d.Sink, &d.Action, &d.Treatment, &d.Problem} {
		*text = r.text(maxText)
	}
	size := r.uvarint()
	r.bad = r.bad || size > MaxPayload
	d.Payload = r.take(int(min(size, MaxPayload)))
}

// Decode reads what Append wrote. d shares the memory of body.
func (d *Delivery) Decode(body []byte) error {
	r := reader{rest: body}
	r.delivery(d)
	return r.end()
}

// AppendOutbox appends the body of EffectOutbox.
func AppendOutbox(dst []byte, deliveries []Delivery) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(deliveries)))
	for i := range deliveries {
		dst = deliveries[i].Append(dst)
	}
	return dst
}

// DecodeOutbox reads what AppendOutbox wrote. The deliveries share the memory of body.
func DecodeOutbox(body []byte) ([]Delivery, error) {
	r := reader{rest: body}
	count := r.uvarint()
	if count > MaxOutbox {
		return nil, ErrMalformed
	}
	deliveries := make([]Delivery, count)
	for i := range deliveries {
		r.delivery(&deliveries[i])
	}
	return deliveries, r.end()
}

// validOutbox is an error that tells whether effects that are about to be written cannot be read.
func validOutbox(effects Sections) error {
	if body := effects.Get(EffectTrigger); body != nil && len(body) != len(ulid.ULID{}) {
		return fmt.Errorf("the trigger of a decision: %w", ErrMalformed)
	}
	if body := effects.Get(EffectOutbox); body != nil {
		if _, err := DecodeOutbox(body); err != nil {
			return fmt.Errorf("the deliveries of a decision: %w", err)
		}
	}
	return nil
}

// DeliveryChange is what became of one delivery. It changes a delivery that is pending, and is passed over
// for another, with two exceptions: what was sent is sent, whatever was written of it meanwhile; and
// DeliveryPending with Replay puts a dead one into the outbox again.
type DeliveryChange struct {
	ID    ulid.ULID
	State DeliveryState
	// Replay is for DeliveryPending: of one that is dead, and begins to count its attempts anew. Without
	// it the delivery is tried again at DueMS, after an attempt that failed.
	Replay bool
	// AtMS is when it happened.
	AtMS, DueMS int64
	// Tried tells that an attempt was made, which is counted.
	Tried   bool
	Problem string
}

// ChangeDeliveries reports what became of deliveries, and forgets those that were finished before a time.
type ChangeDeliveries struct {
	Changes []DeliveryChange
	// ForgetMS is the time before which finished deliveries are forgotten, at most Limit of each state.
	ForgetMS int64
	Limit    uint32
}

const (
	changeReplay = 1
	changeTried  = 2
)

// Append appends the operation to dst. It never fails.
func (o *ChangeDeliveries) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, DeliveriesChanged)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.ForgetMS))
	dst = binary.LittleEndian.AppendUint32(dst, o.Limit)
	dst = binary.AppendUvarint(dst, uint64(len(o.Changes)))
	for i := range o.Changes {
		c, flags := &o.Changes[i], byte(0)
		if c.Replay {
			flags |= changeReplay
		}
		if c.Tried {
			flags |= changeTried
		}
		dst = append(append(dst, c.ID[:]...), byte(c.State), flags)
		dst = binary.LittleEndian.AppendUint64(dst, uint64(c.AtMS))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(c.DueMS))
		dst = appendText(dst, c.Problem)
	}
	return endOp(dst, at), nil
}

// leastChange is the least size of one DeliveryChange.
const leastChange = 16 + 2 + 16 + 1

// Decode reads the body of a DeliveriesChanged. o shares its memory.
func (o *ChangeDeliveries) Decode(body []byte) error {
	r := reader{rest: body}
	o.ForgetMS = int64(r.u64())
	o.Limit = r.u32()
	count := r.uvarint()
	if r.bad || o.Limit > MaxExpired || count > MaxDeliveryChanges || count > uint64(len(r.rest)/leastChange) {
		return ErrMalformed
	}
	o.Changes = o.Changes[:0]
	for range count {
		var c DeliveryChange
		copy(c.ID[:], r.take(len(c.ID)))
		c.State = DeliveryState(r.u8())
		flags := r.u8()
		c.Replay, c.Tried = flags&changeReplay != 0, flags&changeTried != 0
		c.AtMS, c.DueMS = int64(r.u64()), int64(r.u64())
		c.Problem = r.text(maxText)
		r.bad = r.bad || c.State >= deliveryStateEnd || flags&^(changeReplay|changeTried) != 0
		o.Changes = append(o.Changes, c)
	}
	return r.end()
}
