package command

import (
	"encoding/binary"

	"github.com/arbiterhq/arbiter/runtime/contact"
)

// LeaseVolume asks the control group for a part of a volume's budget in one period.
type LeaseVolume struct {
	Volume  string `json:"volume"`
	StartMS int64  `json:"startMs"`
	EndMS   int64  `json:"endMs"`
	// Group is the number of the data group that asks, and Groups how many there are.
	Group  uint64 `json:"group"`
	Groups int    `json:"groups"`
	// Have is all that the group knows to have been granted.
	Have uint64 `json:"have"`
	// Max is the budget as the catalog of catalogVersion Version has it.
	Max     uint64 `json:"max"`
	Version uint64 `json:"version"`
}

// Append appends the operation to dst.
func (o *LeaseVolume) Append(dst []byte) ([]byte, error) { return appendControl(dst, VolumeLeased, o) }

// GiveBackVolume tells the control group all that a data group ever gave back of its part.
type GiveBackVolume struct {
	Volume   string `json:"volume"`
	StartMS  int64  `json:"startMs"`
	Group    uint64 `json:"group"`
	Returned uint64 `json:"returned"`
}

// Append appends the operation to dst.
func (o *GiveBackVolume) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, VolumeGivenBack, o)
}

// GrantLease tells a data group all that the control group ever granted it of a volume in a period.
type GrantLease struct {
	Volume         string
	StartMS, EndMS int64
	Granted        uint64
}

// Append appends the operation to dst. It never fails.
func (o *GrantLease) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, LeaseGranted)
	dst = appendText(dst, o.Volume)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.StartMS))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.EndMS))
	return endOp(binary.AppendUvarint(dst, o.Granted), at), nil
}

// Decode reads the body of a LeaseGranted.
func (o *GrantLease) Decode(body []byte) error {
	r := reader{rest: body}
	o.Volume = r.text(contact.MaxVolumeKeyBytes)
	o.StartMS, o.EndMS, o.Granted = int64(r.u64()), int64(r.u64()), r.uvarint()
	r.bad = r.bad || o.Volume == ""
	return r.end()
}

// ReturnLease takes up to Amount that is left from a data group's part. The answer is all that it ever
// gave back, for GiveBackVolume.
type ReturnLease struct {
	Volume  string
	StartMS int64
	Amount  uint64
}

// Append appends the operation to dst. It never fails.
func (o *ReturnLease) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, LeaseReturned)
	dst = appendText(dst, o.Volume)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.StartMS))
	return endOp(binary.AppendUvarint(dst, o.Amount), at), nil
}

// Decode reads the body of a LeaseReturned.
func (o *ReturnLease) Decode(body []byte) error {
	r := reader{rest: body}
	o.Volume = r.text(contact.MaxVolumeKeyBytes)
	o.StartMS, o.Amount = int64(r.u64()), r.uvarint()
	r.bad = r.bad || o.Volume == ""
	return r.end()
}
