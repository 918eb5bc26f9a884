package command

import (
	"encoding/binary"
	"time"

	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Runs of campaigns: the first three are of the control group, the others of data groups.
const (
	CampaignStarted  Kind = 110
	CampaignChanged  Kind = 111
	CampaignFinished Kind = 112

	CampaignBatch     Kind = 24
	CampaignForgotten Kind = 25
)

// KeptCampaign is the section of a decision of a campaign: AppendCampaign.
const KeptCampaign SectionTag = 56

// AppendCampaign appends the body of KeptCampaign: the number of the run as a varint, then the name of the
// campaign.
func AppendCampaign(dst []byte, run uint64, name string) []byte {
	return append(binary.AppendUvarint(dst, run), name...)
}

// DecodeCampaign reads what AppendCampaign wrote.
func DecodeCampaign(body []byte) (run uint64, name string, err error) {
	r := reader{rest: body}
	run, name = r.uvarint(), string(r.rest)
	if r.bad || len(name) > maxText {
		return 0, "", ErrMalformed
	}
	return run, name, nil
}

// StartCampaign begins a run. Its number is the index of the entry.
type StartCampaign struct {
	Campaign       string     `json:"campaign"`
	CatalogVersion uint64     `json:"catalogVersion"`
	Groups         int        `json:"groups"`
	Due            *time.Time `json:"due,omitempty"`
}

// ChangeCampaign pauses, resumes or stops a run.
type ChangeCampaign struct {
	Run  uint64        `json:"run"`
	Verb campaign.Verb `json:"verb"`
}

// FinishCampaign tells that a data group is through with a run.
type FinishCampaign struct {
	Run     uint64           `json:"run"`
	Group   uint64           `json:"group"`
	Account campaign.Account `json:"account"`
}

// Append appends the operation to dst.
func (o *StartCampaign) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, CampaignStarted, o)
}

// Append appends the operation to dst.
func (o *ChangeCampaign) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, CampaignChanged, o)
}

// Append appends the operation to dst.
func (o *FinishCampaign) Append(dst []byte) ([]byte, error) {
	return appendControl(dst, CampaignFinished, o)
}

// Limits of one batch.
const (
	// MaxBatch bounds the decisions of a batch, and those held out.
	MaxBatch          = 4096
	maxBatchLabels    = 4096
	maxBatchAccount   = 1 << 20
	maxBatchKeyBytes  = 1 << 10
	MaxForgetCampaign = 4096
)

// Batch is what a run did with the subjects of one data group from one key to another: the decisions of those
// who are contacted, and the account of the others. It is for the state machine to let each decision make its
// contacts; one that may not is counted as suppressed.
type Batch struct {
	Run uint64
	// From is the cursor that the group must be at: the last key that was looked at, empty at the beginning;
	// else the batch is refused. Next is the cursor afterwards, and Done tells that nothing follows.
	From, Next []byte
	Done       bool
	// Account is of those who get nothing. Its Audience has all, HeldOut the number of Held, and those
	// contacted are not counted: the state machine does.
	Account campaign.Account
	// Held are the keys of the subjects that are held out.
	Held [][]byte
	// Contacts are the decisions. Labels are what they propose, shared among them.
	Labels   []Label
	Contacts []Contact
}

// Label is an action in a channel.
type Label struct{ Action, Channel string }

// Contact is one decision of a batch.
type Contact struct {
	// Label is a position in Labels, and ExpectedMicros propensity × value in millionths.
	Label          int
	ExpectedMicros int64
	// Version and Body are those of the DecisionRecorded.
	Version uint8
	Body    []byte
}

// AddDecision adds a decision as its Append made it.
func (b *Batch) AddDecision(label int, expectedMicros int64, op []byte) {
	b.Contacts = append(b.Contacts, Contact{Label: label, ExpectedMicros: expectedMicros, Version: op[1], Body: op[opHeadBytes:]})
}

// Append appends the operation to dst.
func (b *Batch) Append(dst []byte) ([]byte, error) {
	account, err := b.Account.Append(nil)
	if err != nil {
		return dst, err
	}
	dst, at := beginOp(dst, CampaignBatch)
	dst = binary.AppendUvarint(dst, b.Run)
	dst = appendSized(dst, b.From)
	dst = appendSized(dst, b.Next)
	done := byte(0)
	if b.Done {
		done = 1
	}
	dst = appendSized(append(dst, done), account)
	dst = binary.AppendUvarint(dst, uint64(len(b.Held)))
	for _, key := range b.Held {
		dst = append(dst, key...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.Labels)))
	for i := range b.Labels {
		dst = appendText(appendText(dst, b.Labels[i].Action), b.Labels[i].Channel)
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.Contacts)))
	for i := range b.Contacts {
		c := &b.Contacts[i]
		dst = binary.AppendUvarint(dst, uint64(c.Label))
		dst = binary.AppendVarint(dst, c.ExpectedMicros)
		dst = appendSized(append(dst, c.Version), c.Body)
	}
	dst = endOp(dst, at)
	// A replica that cannot read an operation stops: such a one must not get into the log.
	if len(dst)-at > MaxOpBytes {
		return dst, nba.Errorf(nba.CodeTooLarge, "a batch of a campaign takes more than %d bytes", MaxOpBytes)
	}
	return dst, new(Batch).Decode(dst[at:])
}

func appendSized(dst, body []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(body))), body...)
}

func (r *reader) sized(most int) []byte {
	size := r.uvarint()
	if size > uint64(most) {
		r.bad = true
		return nil
	}
	return r.take(int(size))
}

// Decode reads the body of a CampaignBatch. What it holds shares the memory of body; the decisions are read
// where they are applied.
func (b *Batch) Decode(body []byte) (err error) {
	r := reader{rest: body}
	b.Run = r.uvarint()
	b.From, b.Next, b.Done = r.sized(maxBatchKeyBytes), r.sized(maxBatchKeyBytes), r.u8() == 1
	account := r.sized(maxBatchAccount)
	if r.bad {
		return ErrMalformed
	}
	if b.Account, err = campaign.DecodeAccount(account); err != nil {
		return ErrMalformed
	}
	b.Held, b.Labels, b.Contacts = b.Held[:0], b.Labels[:0], b.Contacts[:0]
	for range r.bounded(MaxBatch) {
		b.Held = append(b.Held, r.subject())
	}
	for range r.bounded(maxBatchLabels) {
		b.Labels = append(b.Labels, Label{Action: r.text(maxText), Channel: r.text(maxText)})
	}
	for range r.bounded(MaxBatch) {
		c := Contact{Label: int(min(r.uvarint(), maxBatchLabels))}
		c.ExpectedMicros, c.Version = r.varint(), r.u8()
		c.Body = r.sized(MaxOpBytes)
		if r.bad || c.Label >= len(b.Labels) {
			return ErrMalformed
		}
		b.Contacts = append(b.Contacts, c)
	}
	return r.end()
}

// bounded is a number of things that follow, each of which takes at least a byte.
func (r *reader) bounded(most int) int {
	n := r.uvarint()
	if n > uint64(most) || n > uint64(len(r.rest)) {
		r.bad = true
		return 0
	}
	return int(n)
}

// ForgetCampaign removes what a data group keeps of a run, at most Limit entries of it.
type ForgetCampaign struct {
	Run   uint64
	Limit uint32
}

// Append appends the operation to dst. It never fails.
func (o *ForgetCampaign) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, CampaignForgotten)
	return endOp(binary.LittleEndian.AppendUint32(binary.AppendUvarint(dst, o.Run), o.Limit), at), nil
}

// Decode reads the body of a CampaignForgotten.
func (o *ForgetCampaign) Decode(body []byte) error {
	r := reader{rest: body}
	o.Run = r.uvarint()
	if b := r.take(4); b != nil {
		o.Limit = binary.LittleEndian.Uint32(b)
	}
	if o.Limit == 0 || o.Limit > MaxForgetCampaign {
		return ErrMalformed
	}
	return r.end()
}
