package node

import (
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// What nodes say to each other about calls that are moved to another node. Whole numbers are uvarints,
// signed ones zigzag; a text has its length before it, a list its count, a map alternates key and
// value; a thing that may be absent has a byte before it. The order is that of the fields. Messages
// travel between nodes of one release and the next, so fields are only added, at the end.

var errWire = errors.New("a message of another node is malformed")

// maxListed bounds a list in a message.
const maxListed = 1 << 16

// packer appends fields to a message.
type packer struct{ b []byte }

func (p *packer) uint(v uint64) {
	for ; v >= 0x80; v >>= 7 {
		p.b = append(p.b, byte(v)|0x80)
	}
	p.b = append(p.b, byte(v))
}

func (p *packer) int(v int64)     { p.uint(uint64(v)<<1 ^ uint64(v>>63)) }
func (p *packer) float(v float64) { p.uint(math.Float64bits(v)) }

func (p *packer) bool(v bool) {
	if v {
		p.b = append(p.b, 1)
	} else {
		p.b = append(p.b, 0)
	}
}

func (p *packer) text(v string) {
	p.uint(uint64(len(v)))
	p.b = append(p.b, v...)
}

func (p *packer) time(v time.Time) {
	p.int(v.Unix())
	p.uint(uint64(v.Nanosecond()))
}

// unpacker reads a message, whose strings share its memory. bad is set by the first field that is not
// there.
type unpacker struct {
	rest string
	bad  bool
}

func (u *unpacker) fail() { u.bad, u.rest = true, "" }

func (u *unpacker) uint() (v uint64) {
	for i := 0; i < len(u.rest) && i < 10; i++ {
		v |= uint64(u.rest[i]&0x7f) << (7 * i)
		if u.rest[i] < 0x80 {
			u.rest = u.rest[i+1:]
			return v
		}
	}
	u.fail()
	return 0
}

func (u *unpacker) int() int64 {
	v := u.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (u *unpacker) float() float64 { return math.Float64frombits(u.uint()) }
func (u *unpacker) bool() bool     { return u.uint() == 1 }

func (u *unpacker) text() string {
	n := u.uint()
	if n > uint64(len(u.rest)) {
		u.fail()
		return ""
	}
	v := u.rest[:n]
	u.rest = u.rest[n:]
	return v
}

func (u *unpacker) time() time.Time {
	sec, nsec := u.int(), u.uint()
	return time.Unix(sec, int64(nsec%1e9)).UTC()
}

// count is the length of a list, each of whose elements takes a byte at least.
func (u *unpacker) count() int {
	n := u.uint()
	if n > maxListed || n > uint64(len(u.rest)) {
		u.fail()
		return 0
	}
	return int(n)
}

func (u *unpacker) err() error {
	if u.bad {
		return errWire
	}
	return nil
}

// resize is s with n elements, those it had among them so that their own slices serve again.
func resize[T any](s []T, n int) []T {
	if n > cap(s) {
		s = append(s[:cap(s)], make([]T, n-cap(s))...)
	}
	return s[:n]
}

func (p *packer) request(r *nba.DecisionRequest) {
	p.text(r.Subject.ID)
	p.text(string(r.Subject.Type))
	p.text(r.Channel)
	p.text(string(r.Direction))
	p.uint(uint64(len(r.Placements)))
	for i := range r.Placements {
		p.text(r.Placements[i].ID)
		p.int(int64(r.Placements[i].Limit))
	}
	p.uint(uint64(len(r.Contexts)))
	for i := range r.Contexts {
		p.text(r.Contexts[i].Type)
		p.text(r.Contexts[i].Key)
		p.text(r.Contexts[i].Value)
	}
	p.text(r.DecisionRequestID)
	p.uint(uint64(len(r.ExcludedActions)))
	for _, action := range r.ExcludedActions {
		p.text(action)
	}
	p.text(string(r.Options.Explain))
	p.bool(r.Options.Simulate)
	p.uint(r.Options.CatalogVersion)
	p.int(int64(r.Options.TimeoutMS))
	p.text(r.Options.Consistency)
}

func (u *unpacker) request(r *nba.DecisionRequest) {
	r.Subject = nba.SubjectRef{ID: u.text(), Type: nba.SubjectType(u.text())}
	r.Channel, r.Direction = u.text(), nba.Direction(u.text())
	r.Placements = resize(r.Placements, u.count())
	for i := range r.Placements {
		r.Placements[i] = nba.PlacementRequest{ID: u.text(), Limit: int(u.int())}
	}
	r.Contexts = resize(r.Contexts, u.count())
	for i := range r.Contexts {
		r.Contexts[i] = nba.ContextValue{Type: u.text(), Key: u.text(), Value: u.text()}
	}
	r.DecisionRequestID = u.text()
	r.ExcludedActions = resize(r.ExcludedActions, u.count())
	for i := range r.ExcludedActions {
		r.ExcludedActions[i] = u.text()
	}
	r.Options = nba.DecisionOptions{Explain: nba.Explain(u.text()), Simulate: u.bool(), CatalogVersion: u.uint(),
		TimeoutMS: int(u.int()), Consistency: u.text()}
}

func (p *packer) decision(d *nba.Decision) error {
	p.text(d.DecisionID)
	p.uint(d.CatalogVersion)
	p.time(d.DecidedAt)
	p.bool(d.Degraded)
	p.text(d.DegradedReason)
	p.bool(d.InControlGroup)
	p.text(d.ControlGroup)
	p.uint(uint64(len(d.Propositions)))
	for i := range d.Propositions {
		p.text(d.Propositions[i].Placement)
		p.uint(uint64(len(d.Propositions[i].Items)))
		for j := range d.Propositions[i].Items {
			p.proposition(&d.Propositions[i].Items[j])
		}
	}
	explained := []byte{}
	if d.Explanation != nil {
		var err error
		if explained, err = json.Marshal(d.Explanation); err != nil { // rare, and for people
			return err
		}
	}
	p.text(string(explained))
	p.arranged(d)
	return nil
}

// arranged is what strategies made of a decision, which most decisions have nothing of.
func (p *packer) arranged(d *nba.Decision) {
	for i := range d.Propositions {
		strategy := d.Propositions[i].Strategy
		p.bool(strategy != nil)
		if strategy == nil {
			continue
		}
		p.text(strategy.Name)
		p.text(strategy.Version)
		p.text(strategy.Digest)
		for j := range d.Propositions[i].Items {
			p.float(d.Propositions[i].Items[j].StrategyWeight)
		}
	}
}

func (u *unpacker) arranged(d *nba.Decision) {
	for i := range d.Propositions {
		d.Propositions[i].Strategy = nil
		if u.rest == "" || !u.bool() { // a node of the release before ends earlier
			continue
		}
		d.Propositions[i].Strategy = &nba.ModelInfo{Name: u.text(), Version: u.text(), Digest: u.text()}
		for j := range d.Propositions[i].Items {
			d.Propositions[i].Items[j].StrategyWeight = u.float()
		}
	}
}

func (u *unpacker) decision(d *nba.Decision) {
	d.DecisionID, d.CatalogVersion, d.DecidedAt = u.text(), u.uint(), u.time()
	d.Degraded, d.DegradedReason, d.InControlGroup = u.bool(), u.text(), u.bool()
	d.ControlGroup = u.text()
	d.Propositions = resize(d.Propositions, u.count())
	for i := range d.Propositions {
		d.Propositions[i].Placement = u.text()
		d.Propositions[i].Items = resize(d.Propositions[i].Items, u.count())
		for j := range d.Propositions[i].Items {
			u.proposition(&d.Propositions[i].Items[j])
		}
	}
	d.Explanation = nil
	if explained := u.text(); explained != "" {
		d.Explanation = new(nba.Explanation)
		if json.Unmarshal([]byte(explained), d.Explanation) != nil {
			u.fail()
		}
	}
	u.arranged(d)
}

func (p *packer) proposition(v *nba.Proposition) {
	p.int(int64(v.Rank))
	for _, text := range [...]string{v.Action, v.Label, v.Issue, v.Group, v.Treatment} {
		p.text(text)
	}
	p.bool(v.Offering != nil)
	if v.Offering != nil {
		p.text(v.Offering.ID)
		p.text(v.Offering.Href)
	}
	for _, number := range [...]float64{v.Propensity, v.ContextWeight, v.Value, v.Lever, v.Priority, v.SelectionProbability} {
		p.float(number)
	}
	p.text(v.Reason.Code)
	p.text(v.Reason.Label)
	p.bool(v.Model != nil)
	if v.Model != nil {
		p.text(v.Model.Name)
		p.text(v.Model.Version)
		p.text(v.Model.Digest)
	}
	p.uint(uint64(len(v.Content)))
	for key, text := range v.Content {
		p.text(key)
		p.text(text)
	}
	p.bool(v.ExpiresAt != nil)
	if v.ExpiresAt != nil {
		p.time(*v.ExpiresAt)
	}
	p.text(v.ResponseToken)
}

func (u *unpacker) proposition(v *nba.Proposition) {
	*v = nba.Proposition{Rank: int(u.int()), Action: u.text(), Label: u.text(), Issue: u.text(), Group: u.text(), Treatment: u.text()}
	if u.bool() {
		v.Offering = &nba.Offering{ID: u.text(), Href: u.text()}
	}
	v.Propensity, v.ContextWeight, v.Value = u.float(), u.float(), u.float()
	v.Lever, v.Priority, v.SelectionProbability = u.float(), u.float(), u.float()
	v.Reason = nba.Reason{Code: u.text(), Label: u.text()}
	if u.bool() {
		v.Model = &nba.ModelInfo{Name: u.text(), Version: u.text(), Digest: u.text()}
	}
	if n := u.count(); n > 0 {
		v.Content = make(map[string]string, n)
		for range n {
			key := u.text()
			v.Content[key] = u.text()
		}
	}
	if u.bool() {
		at := u.time()
		v.ExpiresAt = &at
	}
	v.ResponseToken = u.text()
}
