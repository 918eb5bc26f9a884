package campaign

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Account is what became of the subjects that a run has looked at. Audience is always Contacted + HeldOut +
// the sum of Suppressed. Values are in millionths, so that adding them up gives the same everywhere.
type Account struct {
	// Examined are all subjects looked at, Audience those the campaign is for.
	Examined  uint64 `json:"examined"`
	Audience  uint64 `json:"audience"`
	Contacted uint64 `json:"contacted"`
	HeldOut   uint64 `json:"heldOut"`
	// Suppressed are those of the audience that got nothing, by reason, in the order of the reasons.
	Suppressed []Suppressed `json:"suppressed,omitempty"`
	// Actions are what those contacted were proposed, in the order of the names.
	Actions []Proposed `json:"actions,omitempty"`
}

// Suppressed are subjects that got nothing for one reason.
type Suppressed struct {
	// Reason is the stage at which nothing was left, a colon, and the code of the removal that took most:
	// "contact:CONTACT_LIMIT".
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// Proposed are contacts with one action in one channel.
type Proposed struct {
	Action  string `json:"action"`
	Channel string `json:"channel"`
	Count   uint64 `json:"count"`
	// ExpectedMicros is the sum of propensity × value, in millionths.
	ExpectedMicros int64 `json:"expectedMicros"`
}

// Limits of an account.
const (
	maxReasons     = 256
	maxProposed    = 4096
	maxReasonBytes = 2 * nba.MaxTextBytes
	// OtherReason takes what is beyond the number of reasons.
	OtherReason = "other:OTHER"
)

// Suppress counts subjects that got nothing for a reason. The audience is not changed.
func (a *Account) Suppress(reason string, count uint64) {
	if count == 0 {
		return
	}
	at, found := slices.BinarySearchFunc(a.Suppressed, reason, func(s Suppressed, reason string) int { return strings.Compare(s.Reason, reason) })
	if !found && len(a.Suppressed) >= maxReasons-1 && reason != OtherReason {
		a.Suppress(OtherReason, count)
		return
	}
	if !found {
		a.Suppressed = slices.Insert(a.Suppressed, at, Suppressed{Reason: reason})
	}
	a.Suppressed[at].Count += count
}

// Contact counts contacts with an action in a channel.
func (a *Account) Contact(action, channel string, count uint64, expectedMicros int64) {
	a.Contacted += count
	a.propose(action, channel, count, expectedMicros)
}

func (a *Account) propose(action, channel string, count uint64, expectedMicros int64) {
	at, found := slices.BinarySearchFunc(a.Actions, Proposed{Action: action, Channel: channel}, func(p, q Proposed) int {
		return cmp.Or(strings.Compare(p.Action, q.Action), strings.Compare(p.Channel, q.Channel))
	})
	if !found {
		a.Actions = slices.Insert(a.Actions, at, Proposed{Action: action, Channel: channel})
	}
	a.Actions[at].Count += count
	a.Actions[at].ExpectedMicros += expectedMicros
}

// Add adds another account.
func (a *Account) Add(other *Account) {
	a.Examined += other.Examined
	a.Audience += other.Audience
	a.Contacted += other.Contacted
	a.HeldOut += other.HeldOut
	for i := range other.Suppressed {
		a.Suppress(other.Suppressed[i].Reason, other.Suppressed[i].Count)
	}
	for i := range other.Actions {
		p := &other.Actions[i]
		a.propose(p.Action, p.Channel, p.Count, p.ExpectedMicros)
	}
}

// Clone is a copy that shares nothing.
func (a *Account) Clone() Account {
	c := *a
	c.Suppressed, c.Actions = slices.Clone(a.Suppressed), slices.Clone(a.Actions)
	return c
}

// Reset empties the account and keeps its memory.
func (a *Account) Reset() {
	*a = Account{Suppressed: a.Suppressed[:0], Actions: a.Actions[:0]}
}

// SuppressedAll is the sum of Suppressed.
func (a *Account) SuppressedAll() (sum uint64) {
	for i := range a.Suppressed {
		sum += a.Suppressed[i].Count
	}
	return sum
}

// ExpectedMicros is the sum of propensity × value of all contacts, in millionths.
func (a *Account) ExpectedMicros() (sum int64) {
	for i := range a.Actions {
		sum += a.Actions[i].ExpectedMicros
	}
	return sum
}

// Check tells what an account does not account for.
func (a *Account) Check() error {
	if a.Audience != a.Contacted+a.HeldOut+a.SuppressedAll() || a.Audience > a.Examined {
		return nba.Errorf(nba.CodeInvalid, "the account of a run does not add up: of %d, %d are contacted, %d held out and %d suppressed",
			a.Audience, a.Contacted, a.HeldOut, a.SuppressedAll())
	}
	return a.bounded()
}

func (a *Account) bounded() error {
	if len(a.Suppressed) > maxReasons || len(a.Actions) > maxProposed {
		return nba.Errorf(nba.CodeTooLarge, "the account of a run has more than %d reasons or %d actions", maxReasons, maxProposed)
	}
	for i := range a.Suppressed {
		if len(a.Suppressed[i].Reason) > maxReasonBytes {
			return nba.Errorf(nba.CodeTooLarge, "a reason takes more than %d bytes", maxReasonBytes)
		}
	}
	return nil
}

// Append appends the JSON of the account.
func (a *Account) Append(dst []byte) ([]byte, error) {
	encoded, err := json.Marshal(a)
	if err != nil {
		return dst, fmt.Errorf("encoding the account of a run: %w", err)
	}
	return append(dst, encoded...), nil
}

// DecodeAccount reads what Append wrote. It need not add up: a part of an account may count what is settled
// later.
func DecodeAccount(raw []byte) (a Account, err error) {
	if err := json.Unmarshal(raw, &a); err != nil {
		return Account{}, fmt.Errorf("reading the account of a run: %w", err)
	}
	return a, a.bounded()
}
