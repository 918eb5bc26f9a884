package record

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// said writes answers as text, purposes as p0 and channels by name.
func said(answers []nba.Consent) string {
	var out []string
	for _, a := range answers {
		name := a.Channel
		if name == "" {
			name = fmt.Sprintf("p%d", a.Purpose)
		}
		text := name + "=" + a.State.String()
		if a.From != 0 || a.Until != 0 {
			text += fmt.Sprintf("[%d,%d)", a.From, a.Until)
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func extendedRecord(t testing.TB, answers ...nba.Consent) []byte {
	t.Helper()
	granted, refused, rest := MakeConsents(answers)
	b, err := AppendExtended(nil, oneOfEach(), granted, refused, rest)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConsentsAreKept(t *testing.T) {
	answers := []nba.Consent{
		{Channel: "sms", State: nba.Refused}, {Purpose: 1, State: nba.Granted, From: 10, Until: 20},
		{Purpose: 2, State: nba.Withdrawn}, {Purpose: 63, State: nba.Granted}, {Purpose: 4, State: nba.Refused},
		{Channel: "app", State: nba.Granted, Until: 30}, {Purpose: 4, State: nba.Refused}, {Purpose: 5, State: nba.Refused, From: 15},
	}
	r := mustReset(t, extendedRecord(t, answers...))
	want := "p1=granted[10,20) p2=withdrawn p4=refused p5=refused[15,0) p63=granted app=granted[0,30) sms=refused"
	if got := said(r.Answers(nil)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if d := diff(oneOfEach(), all(r)); d != "" {
		t.Errorf("attributes (-want +got):\n%s", d)
	}
	for _, at := range []struct {
		ms       int64
		answered string
	}{
		{5, "p1=refused p2=refused p4=refused p5=unanswered p63=granted app=granted sms=refused web=unanswered"},
		{10, "p1=granted p2=refused p4=refused p5=unanswered p63=granted app=granted sms=refused web=unanswered"},
		{15, "p1=granted p2=refused p4=refused p5=refused p63=granted app=granted sms=refused web=unanswered"},
		{20, "p1=refused p2=refused p4=refused p5=refused p63=granted app=granted sms=refused web=unanswered"},
		{30, "p1=refused p2=refused p4=refused p5=refused p63=granted app=refused sms=refused web=unanswered"},
	} {
		granted, refused := r.PurposesAt(at.ms)
		var got []nba.Consent
		for _, p := range []nba.PurposeID{1, 2, 4, 5, 63} {
			got = append(got, nba.Consent{Purpose: p, State: answerIn(granted, refused, p)})
		}
		for _, channel := range []string{"app", "sms", "web"} {
			got = append(got, nba.Consent{Channel: channel, State: r.ChannelAt(channel, at.ms)})
		}
		if said(got) != at.answered {
			t.Errorf("at %d: got %s, want %s", at.ms, said(got), at.answered)
		}
	}
}

// TestConsentsFormatIsFixed pins docs/format/subject-record.md.
func TestConsentsFormatIsFixed(t *testing.T) {
	_, _, rest := MakeConsents([]nba.Consent{{Purpose: 3, State: nba.Granted, From: 1, Until: 300}, {Channel: "sms", State: nba.Withdrawn}})
	got, err := AppendExtended(nil, nil, 1, 4, rest)
	want := "02010000" + "0000000000000000" + "01" + "04" + "0a00" + "0d0301ac02" + "1303" + "736d73"
	if err != nil || fmt.Sprintf("%x", got) != want {
		t.Errorf("got %x, %v, want %s", got, err, want)
	}
}

// TestMergeOfConsents compares AppendMerge with the same change made to a map.
func TestMergeOfConsents(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(removals bool) (answers []nba.Consent) {
		for range random.IntN(8) {
			a := nba.Consent{State: nba.ConsentState(1 + random.IntN(3))}
			if removals && random.IntN(3) == 0 {
				a.State = nba.Unanswered
			} else if random.IntN(2) == 0 {
				a.From = 1 + random.Int64N(50)
				a.Until = a.From + 1 + random.Int64N(50)
			}
			if a.Purpose = nba.PurposeID(random.IntN(6)); random.IntN(2) == 0 {
				a.Purpose, a.Channel = 0, string(rune('a'+random.IntN(5)))
			}
			answers = append(answers, a)
		}
		return answers
	}
	name := func(a nba.Consent) string { return said([]nba.Consent{{Purpose: a.Purpose, Channel: a.Channel}}) }
	for range 3000 {
		before, change := pick(false), pick(true)
		want := map[string]nba.Consent{}
		for _, a := range before {
			want[name(a)] = a
		}
		c := Change{Forget: random.IntN(4) == 0}
		if c.Forget {
			clear(want)
		}
		for _, a := range change {
			if want[name(a)] = a; a.State == nba.Unanswered {
				delete(want, name(a))
			}
		}
		granted, refused, rest := MakeConsents(slices.Clone(change))
		set, err := AppendExtended(nil, nil, 0, 0, rest)
		if err != nil {
			t.Fatal(err)
		}
		c.Set, c.Grant, c.Refuse = mustReset(t, set), granted, refused
		merged, err := AppendMerge(nil, mustReset(t, extendedRecord(t, before...)), c)
		if err != nil {
			t.Fatal(err)
		}
		got := mustReset(t, merged).Answers(nil)
		var list []nba.Consent
		for _, a := range want {
			list = append(list, a)
		}
		slices.SortFunc(list, compareConsents)
		if said(got) != said(list) {
			t.Fatalf("%s, changed by %s (forget %v): got %s, want %s", said(before), said(change), c.Forget, said(got), said(list))
		}
		if IsExtended(merged) != (len(mustReset(t, merged).Consents()) > 0) {
			t.Fatal("a record has format 2 if and only if it needs it")
		}
	}
}

// TestPutLeavesWhatItRepeats: a document that was read and is put back changes nothing.
func TestPutLeavesWhatItRepeats(t *testing.T) {
	old := mustReset(t, extendedRecord(t,
		nba.Consent{Purpose: 0, State: nba.Granted}, nba.Consent{Purpose: 1, State: nba.Granted, Until: 50},
		nba.Consent{Purpose: 2, State: nba.Withdrawn}, nba.Consent{Purpose: 3, State: nba.Granted, From: 100},
		nba.Consent{Purpose: 4, State: nba.Refused, From: 100},
		nba.Consent{Channel: "sms", State: nba.Withdrawn}, nba.Consent{Channel: "web", State: nba.Granted, Until: 200}))
	const now = 60
	put := func(channels bool, change func(answers map[string]*nba.Consent)) string {
		granted, refused := old.PurposesAt(now)
		answers := map[string]*nba.Consent{}
		for p := range nba.PurposeID(5) {
			if state := answerIn(granted, refused, p); state != nba.Unanswered {
				answers[fmt.Sprintf("p%d", p)] = &nba.Consent{Purpose: p, State: state}
			}
		}
		if channels {
			for _, channel := range []string{"sms", "web"} {
				answers[channel] = &nba.Consent{Channel: channel, State: old.ChannelAt(channel, now)}
			}
		}
		change(answers)
		var list []nba.Consent
		for _, a := range answers {
			list = append(list, *a)
		}
		g, r, rest := MakeConsents(list)
		if !channels {
			rest = nil
		}
		stored, err := AppendExtended(nil, nil, g, r, rest)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := Put(nil, old, mustReset(t, stored), stored, now)
		if err != nil {
			t.Fatal(err)
		}
		return said(mustReset(t, whole).Answers(nil))
	}
	same := said(old.Answers(nil))
	nothing := func(map[string]*nba.Consent) {}
	if got := put(true, nothing); got != same {
		t.Errorf("repeated: got %s, want %s", got, same)
	}
	if got := put(false, nothing); got != same {
		t.Errorf("without channels: got %s, want %s", got, same)
	}
	got := put(true, func(answers map[string]*nba.Consent) {
		answers["p1"].State, answers["p2"].State = nba.Granted, nba.Granted
		delete(answers, "sms")
		answers["web"].State = nba.Refused
	})
	if want := "p0=granted p1=granted p2=granted p3=granted[100,0) p4=refused[100,0) web=refused"; got != want {
		t.Errorf("changed: got %s, want %s", got, want)
	}
}

func TestBadConsents(t *testing.T) {
	good := extendedRecord(t, nba.Consent{Purpose: 3, State: nba.Granted, From: 1}, nba.Consent{Channel: "sms", State: nba.Refused})
	at := bytes.Index(good, []byte{byte(nba.Granted) | consentFrom, 3, 1})
	for name, change := range map[string]func(b []byte){
		"unknown head":       func(b []byte) { b[at] |= 0x80 },
		"purpose beyond 63":  func(b []byte) { b[at+1] = 64 },
		"no moment":          func(b []byte) { b[at+2] = 0 },
		"channel and no end": func(b []byte) { b[at+4] = 60 },
		"answered twice":     func(b []byte) { b[12] |= 1 << 3 },
		"longer":             func(b []byte) { b[at-2]++ },
	} {
		b := slices.Clone(good)
		change(b)
		if err := new(Record).Reset(nba.SubjectRef{}, b); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	var many []nba.Consent
	for i := range nba.MaxChannelConsents + 1 {
		many = append(many, nba.Consent{Channel: fmt.Sprintf("c%d", i), State: nba.Refused})
	}
	_, _, rest := MakeConsents(many)
	if _, err := AppendExtended(nil, nil, 0, 0, rest); err == nil {
		t.Error("too many channels were taken")
	}
}
