package fsm

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// A run of a campaign leaves in each data group how far it is, whom it contacted, and whom it held out:
//
//	campaigns   campaignProgress, run               -> Progress as JSON
//	campaigns   campaignContacted, run, subject key -> ULID of the decision
//	campaigns   campaignHeldOut, run, subject key   -> ms of the batch
//
// A batch is applied if the group is where the batch begins, and moves it to where the batch ends. So a batch
// that is proposed twice, or by two leaders, is applied once, and a leader that begins anew goes on behind the
// last one that was.
const (
	campaignProgress  = 's'
	campaignContacted = 'c'
	campaignHeldOut   = 'h'
)

// The reasons for which the state machine suppresses what was about to be contacted.
const (
	// ReasonRaced: another decision used the contact limit up meanwhile.
	ReasonRaced = "contact:CONTACT_LIMIT"
	// ReasonGone: the subject was erased meanwhile.
	ReasonGone = "subject:GONE"
)

// campaignState is reused from batch to batch.
type campaignState struct {
	batch   command.Batch
	charged []volumeCount
}

// Progress is how far a run is in one group.
type Progress struct {
	// Cursor is the last key that was looked at.
	Cursor  []byte           `json:"cursor,omitempty"`
	Done    bool             `json:"done,omitempty"`
	Account campaign.Account `json:"account"`
	// StartedMS and ChangedMS are the times of the first and of the last batch.
	StartedMS int64 `json:"startedMs"`
	ChangedMS int64 `json:"changedMs"`
}

// campaignKey is a key of the bucket of campaigns: what is campaignProgress, campaignContacted or
// campaignHeldOut.
func campaignKey(what byte, run uint64, subjectKey []byte) []byte {
	key := binary.BigEndian.AppendUint64(append(make([]byte, 0, 9+len(subjectKey)), what), run)
	return append(key, subjectKey...)
}

func parseProgress(stored []byte) (p Progress, err error) {
	if err := json.Unmarshal(stored, &p); err != nil {
		return p, fmt.Errorf("reading the progress of a run: %w", err)
	}
	return p, nil
}

// errCampaignMoved refuses a batch that begins elsewhere than where the group is.
func errCampaignMoved() *nba.Error {
	return nba.Errorf(nba.CodeConflict, "the run is elsewhere in this group than the batch begins: read its progress again")
}

// campaignBatch lets the decisions of a batch make their contacts and counts everybody.
func (d *Data) campaignBatch(u *update, at At, body []byte) (Result, error) {
	b := &d.batch
	if err := b.Decode(body); err != nil {
		return Result{}, err
	}
	key := campaignKey(campaignProgress, b.Run, nil)
	stored := u.Get(store.Campaigns, key)
	p := Progress{StartedMS: at.ProposedMS}
	if stored != nil {
		var err error
		if p, err = parseProgress(stored); err != nil {
			return Result{}, err
		}
	}
	if p.Done || string(p.Cursor) != string(b.From) {
		return refuse(errCampaignMoved())
	}
	if lacking, err := d.lacksVolume(u, b); err != nil || lacking {
		return Result{Err: volumeUsedUp()}, err
	}
	p.Account.Add(&b.Account)
	for i := range b.Contacts {
		if err := d.campaignContact(u, b, &b.Contacts[i], &p.Account); err != nil {
			return Result{}, err
		}
	}
	for _, subject := range b.Held {
		held := campaignKey(campaignHeldOut, b.Run, subject)
		if err := u.replace(store.Campaigns, held, u.Get(store.Campaigns, held), binary.BigEndian.AppendUint64(nil, uint64(at.ProposedMS))); err != nil {
			return Result{}, err
		}
	}
	p.Cursor, p.Done, p.ChangedMS = b.Next, b.Done, at.ProposedMS
	value, err := json.Marshal(&p)
	if err != nil {
		return Result{}, fmt.Errorf("encoding the progress of a run: %w", err)
	}
	return Result{Version: p.Account.Contacted}, u.replace(store.Campaigns, key, stored, value)
}

// campaignContact records one decision, or counts its subject as suppressed if it may not be.
func (d *Data) campaignContact(u *update, b *command.Batch, c *command.Contact, account *campaign.Account) error {
	result, err := d.recordDecision(u, command.Op{Kind: command.DecisionRecorded, Version: c.Version, Body: c.Body})
	if err != nil {
		return err
	}
	switch nba.CodeOf(result.Err) {
	case "":
	case nba.CodeSubjectUnknown:
		account.Suppress(ReasonGone, 1)
		return nil
	default:
		account.Suppress(ReasonRaced, 1)
		return nil
	}
	label := &b.Labels[c.Label]
	account.Contact(label.Action, label.Channel, 1, c.ExpectedMicros)
	key := campaignKey(campaignContacted, b.Run, d.recorded.Key)
	return u.replace(store.Campaigns, key, u.Get(store.Campaigns, key), slices.Clone(result.Decision[:]))
}

// lacksVolume tells whether the decisions of a batch together take more of a volume than the group has.
func (d *Data) lacksVolume(u *update, b *command.Batch) (bool, error) {
	d.charged = d.charged[:0]
	for i := range b.Contacts {
		p := &d.recorded
		if err := p.Decode(b.Contacts[i].Body, b.Contacts[i].Version); err != nil {
			return false, err
		}
		var err error
		if d.charged, err = appendCharged(d.charged, p.Effects); err != nil {
			return false, err
		}
	}
	for i := range d.charged {
		c := &d.charged[i]
		if left, err := leaseLeft(u, c.volume, c.startMS); err != nil || left < c.count {
			return true, err
		}
	}
	return false, nil
}

// CampaignProgress is how far a run is in this group; ok is false if it did not begin. It is safe for
// concurrent use.
func (d *Data) CampaignProgress(run uint64) (p Progress, ok bool, err error) {
	r, err := d.store.Acquire()
	if err != nil {
		return p, false, err
	}
	defer r.Release()
	stored := r.Get(store.Campaigns, campaignKey(campaignProgress, run, nil))
	if stored == nil {
		return p, false, nil
	}
	p, err = parseProgress(stored)
	return p, err == nil, err
}

// CampaignRuns are the runs of which this group keeps anything. It is safe for concurrent use.
func (d *Data) CampaignRuns() (runs []uint64, err error) {
	r, err := d.store.Acquire()
	if err != nil {
		return nil, err
	}
	defer r.Release()
	r.Scan(store.Campaigns, []byte{campaignProgress}, func(key, _ []byte) bool {
		runs = append(runs, binary.BigEndian.Uint64(key[1:]))
		return true
	})
	return runs, nil
}

// CampaignMember is a subject that a run contacted or held out.
type CampaignMember struct {
	Key []byte
	// Decision is zero for one held out; then TimeMS is when that was.
	Decision ulid.ULID
	TimeMS   int64
}

// CampaignMembers calls fn with those a run contacted, or held out, in the order of their keys, those after a
// key first, until it returns false. It is safe for concurrent use; fn may read through reader.
func (d *Data) CampaignMembers(run uint64, heldOut bool, after []byte, fn func(reader *store.Reader, m CampaignMember) bool) error {
	r, err := d.store.Acquire()
	if err != nil {
		return err
	}
	defer r.Release()
	what := byte(campaignContacted)
	if heldOut {
		what = campaignHeldOut
	}
	from := campaignKey(what, run, after)
	if len(after) > 0 {
		from = append(from, 0)
	}
	r.ScanBetween(store.Campaigns, from, campaignKey(what, run+1, nil), func(key, value []byte) bool {
		m := CampaignMember{Key: key[9:]}
		switch {
		case heldOut && len(value) == 8:
			m.TimeMS = int64(binary.BigEndian.Uint64(value))
		case !heldOut && len(value) == len(m.Decision):
			m.Decision = ulid.ULID(value)
			m.TimeMS = int64(m.Decision.Time())
		}
		return fn(r, m)
	})
	return nil
}

// forgetCampaign removes what is kept of a run, the progress last. Version is what is left to remove, at
// least.
func (d *Data) forgetCampaign(u *update, body []byte) (Result, error) {
	var op command.ForgetCampaign
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	left := int(op.Limit)
	for _, what := range [...]byte{campaignContacted, campaignHeldOut, campaignProgress} {
		var keys, values [][]byte
		u.Scan(store.Campaigns, campaignKey(what, op.Run, nil), func(key, value []byte) bool {
			keys, values = append(keys, slices.Clone(key)), append(values, value)
			return len(keys) < left
		})
		for i, key := range keys {
			if err := u.remove(store.Campaigns, key, values[i]); err != nil {
				return Result{}, err
			}
		}
		if left -= len(keys); left == 0 {
			return Result{Version: 1}, nil
		}
	}
	return Result{}, nil
}

// eraseFromCampaigns removes a subject from what is kept of runs. The accounts keep counting it.
func (d *Data) eraseFromCampaigns(u *update, subjectKey []byte) error {
	var runs []uint64
	u.Scan(store.Campaigns, []byte{campaignProgress}, func(key, _ []byte) bool {
		runs = append(runs, binary.BigEndian.Uint64(key[1:]))
		return true
	})
	for _, run := range runs {
		for _, what := range [...]byte{campaignContacted, campaignHeldOut} {
			key := campaignKey(what, run, subjectKey)
			if stored := u.Get(store.Campaigns, key); stored != nil {
				if err := u.remove(store.Campaigns, key, stored); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// volumeCount is how much a batch takes of a volume.
type volumeCount struct {
	volume  string
	startMS int64
	count   uint64
}

// appendCharged adds the charges of one decision to those of a batch.
func appendCharged(dst []volumeCount, effects command.Sections) ([]volumeCount, error) {
	body := effects.Get(command.EffectCharges)
	if body == nil {
		return dst, nil
	}
	charges, err := contact.DecodeCharges(nil, body)
	if err != nil {
		return dst, err
	}
	for i := range charges {
		at := slices.IndexFunc(dst, func(c volumeCount) bool { return c.volume == charges[i].Volume && c.startMS == charges[i].StartMS })
		if at < 0 {
			at = len(dst)
			dst = append(dst, volumeCount{volume: charges[i].Volume, startMS: charges[i].StartMS})
		}
		dst[at].count++
	}
	return dst, nil
}

// leaseLeft is what the group has left of a volume.
func leaseLeft(u *update, volume string, startMS int64) (uint64, error) {
	stored := u.Get(store.Control, VolumeKey(nil, volume, startMS))
	if stored == nil {
		return 0, nil
	}
	lease, err := contact.DecodeLease(stored)
	return lease.Left(), err
}
