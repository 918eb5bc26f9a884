package fsm

import (
	"bytes"
	"errors"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestHomes: whatever a data group keeps of a subject or a decision is found in the group of its slot after a
// restore into another number of groups; what belongs to a group by number is refused.
func TestHomes(t *testing.T) {
	subject := command.AppendSubjectKey(nil, nba.SubjectRef{Type: nba.DefaultSubjectType, ID: "S-000123"})
	id := ulid.MustParseStrict("01KB3V8Q5M9T1Z7X4C6W2R0YHD")
	hash := bytes.Repeat([]byte{9}, 16)
	ofSubject, ofDecision := Home{Subject: subject}, Home{Decision: id}
	for name, c := range map[string]struct {
		bucket store.Bucket
		key    []byte
		want   Home
	}{
		"a subject":               {store.Subjects, subject, ofSubject},
		"a ledger":                {store.Contacts, subject, ofSubject},
		"a decision":              {store.Decisions, id[:], ofDecision},
		"a count of decisions":    {store.History, subject, ofSubject},
		"an interaction":          {store.History, AppendHistoryKey(nil, subject, HistoryKey{TimeMS: 5, Decision: id, Kind: HistoryDecision}), ofSubject},
		"an answer to a key":      {store.Idempotency, hash, Home{Everywhere: true}},
		"its end":                 {store.Due, append([]byte{dueKey, 0, 0, 0, 0, 0, 0, 0, 1}, hash...), Home{Everywhere: true}},
		"a timeout of a decision": {store.Due, append(dueAt(nil, dueDecision, 7, id), whatTimeout), ofDecision},
		"a verdict":               {store.Due, verdictKey(id), ofDecision},
		"the last verdict":        {store.Due, []byte{dueVerdict}, Home{Everywhere: true, Most: true}},
		"a hold":                  {store.Due, append(dueAt(nil, dueHold, 7, id), subject...), ofSubject},
		"news":                    {store.Due, append(append(dueAt(nil, dueOutbox, 7, id), 0, 0, 1, 2), subject...), ofDecision},
		"an erased decision":      {store.Due, appendErased(nil, id[:]), ofDecision},
		"a timer":                 {store.Due, timerKey(nil, 7, timerJourney, subject, "journey:cart#1"), ofSubject},
		"windows":                 {store.Windows, subject, ofSubject},
		"clocks of attributes":    {store.Seen, subject, ofSubject},
		"a journey":               {store.Journeys, subject, ofSubject},
		"a definition":            {store.Journeys, append([]byte{journeyDefinition}, hash...), Home{Everywhere: true, Most: true}},
		"uses of it":              {store.Journeys, append([]byte{journeyUses}, hash...), Home{Everywhere: true, Sum: true}},
		"a trigger":               {store.Triggers, subjectID(triggerOf, subject, id), ofSubject},
		"when it is decided":      {store.Triggers, triggerAtKey(7, id, subject), ofDecision},
		"a delivery":              {store.Outbox, outboxKey(id), ofDecision},
		"when it is sent":         {store.Outbox, outboxDueKey("sms", 7, id), ofDecision},
		"when it was sent":        {store.Outbox, outboxDoneKey(1, 7, id), ofDecision},
		"of whom it is":           {store.Outbox, subjectID(outboxSubject, subject, id), ofSubject},
		"a contact of a campaign": {store.Campaigns, campaignKey(campaignContacted, 5, subject), ofSubject},
		"a lease":                 {store.Control, VolumeKey(nil, "sms-day", 99), Home{Nowhere: true}},
	} {
		got, err := HomeOf(c.bucket, c.key)
		if err != nil || !bytes.Equal(got.Subject, c.want.Subject) || got.Decision != c.want.Decision || got.Everywhere != c.want.Everywhere ||
			got.Most != c.want.Most || got.Sum != c.want.Sum || got.Nowhere != c.want.Nowhere {
			t.Errorf("%s: %+v %v, want %+v", name, got, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		bucket store.Bucket
		key    []byte
	}{
		"numbers of events":        {store.Events, []byte{eventMark}},
		"a cursor":                 {store.Events, append([]byte{eventStream}, "kafka/0"...)},
		"a duplicate":              {store.Seen, append(bytes.Clone(subject), hash...)},
		"a letter":                 {store.Letters, letterKey(nil, 5)},
		"the progress of a run":    {store.Campaigns, campaignKey(campaignProgress, 5, nil)},
		"a kind that is not known": {store.Due, []byte{200, 1, 2, 3}},
	} {
		if _, err := HomeOf(c.bucket, c.key); !errors.Is(err, ErrNoHome) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzHomeOf: no key, whatever it is, does more than give an error.
func FuzzHomeOf(f *testing.F) {
	f.Add(uint8(store.Due), []byte{dueTimer, 1})
	f.Add(uint8(store.Outbox), []byte{outboxDone, 1})
	f.Fuzz(func(_ *testing.T, b uint8, key []byte) {
		if len(key) > 0 {
			_, _ = HomeOf(store.Bucket(b), key)
		}
	})
}
