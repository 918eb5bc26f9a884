package rollout

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestRaisingTheShareMovesOnlyTheDifference: whoever gets the candidate keeps it, and the share is right.
func TestRaisingTheShareMovesOnlyTheDifference(t *testing.T) {
	const subjects = 40_000
	salt := NewSalt("churn-17")
	before := make([]Arm, subjects)
	for _, permille := range []int{0, 1, 10, 100, 500, 999, 1000} {
		chosen := 0
		for i := range before {
			arm := Assign(salt.Hash(nba.SubjectRef{Type: nba.Subscriber, ID: fmt.Sprintf("S-%06d", i)}), permille)
			if before[i] == ArmCandidate && arm != ArmCandidate {
				t.Fatalf("subject %d lost the candidate at %d per mille", i, permille)
			}
			before[i] = arm
			chosen += int(arm)
		}
		want := float64(permille) / 1000
		if got, deviation := float64(chosen)/subjects, math.Sqrt(want*(1-want)/subjects); math.Abs(got-want) > 5*deviation {
			t.Errorf("%d per mille: %d of %d subjects", permille, chosen, subjects)
		}
	}
}

// TestSaltsChooseIndependently: two rollouts do not choose the same subjects, and the type of a subject
// is part of who it is.
func TestSaltsChooseIndependently(t *testing.T) {
	a, b := NewSalt("churn-1"), NewSalt("churn-2")
	both := 0
	for i := range 40_000 {
		ref := nba.SubjectRef{Type: nba.Subscriber, ID: fmt.Sprint("S-", i)}
		if Assign(a.Hash(ref), 100) == ArmCandidate && Assign(b.Hash(ref), 100) == ArmCandidate {
			both++
		}
	}
	if both < 320 || both > 480 {
		t.Errorf("%d of 40000 subjects are among the tenth of both rollouts, want about 400", both)
	}
	if a.Hash(nba.SubjectRef{Type: nba.Subscriber, ID: "1"}) == a.Hash(nba.SubjectRef{Type: nba.Account, ID: "1"}) {
		t.Error("the type does not count")
	}
	if n := testing.AllocsPerRun(100, func() { _ = a.Hash(nba.SubjectRef{Type: nba.Subscriber, ID: "S-000123"}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestAssignmentIsAPromise: the hash is part of what is stored (stickiness across releases).
func TestAssignmentIsAPromise(t *testing.T) {
	salt := NewSalt("churn-17")
	var got []uint64
	for _, id := range []string{"S-000001", "S-000002", "S-000003"} {
		got = append(got, salt.Hash(nba.SubjectRef{Type: nba.Subscriber, ID: id}))
	}
	if want := []uint64{0x6e45ddcd7793ce9, 0xcfbb67ff1bf80360, 0x4f68f300531ac4a7}; !slices.Equal(got, want) {
		t.Errorf("hashes %#x, want %#x: subjects would change their arm with the release", got, want)
	}
}

func TestBinsAreContiguousAndNarrow(t *testing.T) {
	for bin := range Bins - 1 {
		low, high := BinBounds(bin)
		if next, _ := BinBounds(bin + 1); high != next || Bin(low) != bin || Bin(high-1) != bin {
			t.Fatalf("bin %d: from %d to %d, the next from %d; Bin gives %d and %d", bin, low, high, next, Bin(low), Bin(high-1))
		}
		if low >= 4 && float64(high-low) > 0.26*float64(low) {
			t.Errorf("bin %d is as wide as from %d to %d", bin, low, high)
		}
	}
	if Bin(math.MaxUint64) != Bins-1 {
		t.Error("large numbers are not in the last bin")
	}
}

// TestQuantilesAreNearTheTruth compares with sorted values.
func TestQuantilesAreNearTheTruth(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h Histogram = make([]uint64, Bins)
	var values []uint64
	for range 10_000 {
		v := uint64(math.Exp(random.Float64()*20)) + 1
		values = append(values, v)
		h[Bin(v)]++
	}
	slices.Sort(values)
	for _, permille := range []uint64{1, 10, 500, 900, 990, 999, 1000} {
		got, want := h.Quantile(permille), values[min(len(values)-1, int(permille)*len(values)/1000)]
		if float64(got) < 0.7*float64(want) || float64(got) > 1.3*float64(want) {
			t.Errorf("%d per mille: %d, want about %d", permille, got, want)
		}
	}
	if (Histogram{}).Quantile(990) != 0 || (Histogram{0, 0, math.MaxUint64, math.MaxUint64}).Quantile(1000) > 4 {
		t.Error("edges")
	}
}

func TestScoreBins(t *testing.T) {
	for _, c := range []struct {
		score       float64
		probability bool
		bin         int
	}{{math.NaN(), true, 0}, {0, true, 1}, {0.001, true, 2}, {0.25, true, 12}, {1, true, ScoreBins - 1},
		{math.Inf(-1), false, 1}, {0, false, 15}, {math.Inf(1), false, ScoreBins - 1}} {
		if got := ScoreBin(c.score, c.probability); got != c.bin {
			t.Errorf("score %v: bin %d, want %d", c.score, got, c.bin)
		}
	}
}

// TestTheSameScoresAreNoShift: drawn from one distribution, two samples are as good as never a shift; from
// another one they are.
func TestTheSameScoresAreNoShift(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	draw := func(n int, shift float64) Histogram {
		h := make(Histogram, ScoreBins)
		for range n {
			h[ScoreBin(1/(1+math.Exp(-random.NormFloat64()-shift)), true)]++
		}
		return h
	}
	for range 40 {
		if psi := stability(draw(5000, 0), draw(500, 0), 5000, 500); psi > 0.1 {
			t.Errorf("no shift: %v", psi)
		}
		if psi := stability(draw(5000, 0), draw(500, 1), 5000, 500); psi < 0.4 {
			t.Errorf("a shift by one deviation: %v", psi)
		}
	}
}

// TestChanceBreachesNothing: two arms that are alike are not taken back although they are looked at
// hundreds of times.
func TestChanceBreachesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	r := Rollout{Stage: Canary, Spec: Spec{Steps: []Step{{Stage: Canary, Permille: 100}}}.WithDefaults()}
	breaches := 0
	for range 4 {
		r.Windows = Windows{}
		for range 400 {
			for range 50 {
				arm := ArmIncumbent
				if random.IntN(1000) < 100 {
					arm = ArmCandidate
				}
				for _, w := range [...]*Counts{&r.Windows.Present[arm], &r.Windows.Total[arm]} {
					w.Subjects++
					w.Decisions++
					w.Calls++
					w.Propositions += 2
				}
				if random.IntN(100) < 8 {
					r.Windows.Total[arm].Accepted++
				}
			}
			if v := Judge(&r, time.Time{}); v.Verb != "" {
				breaches++
				t.Logf("%+v", v.Checks)
				break
			}
		}
	}
	if breaches > 0 {
		t.Errorf("%d of 4 rollouts of equals were taken back", breaches)
	}
}

func TestTallyAndDeltas(t *testing.T) {
	tally := NewTally("churn-1", 3)
	tally.Called(ArmCandidate, 8, 1000, time.Microsecond)
	tally.Failed(ArmCandidate)
	tally.Score(ArmCandidate, 0.5, true)
	tally.Compared(0.5, 0.7)
	tally.Compared(0.5, math.NaN())
	tally.Decided(ArmIncumbent, true, [2]int{2, 1})
	for range 2 {
		tally.Subject(ArmCandidate, 17)
	}
	first := tally.Counts()
	c := first[ArmCandidate]
	if c.Calls != 2 || c.Errors != 1 || c.Rows != 8 || c.Subjects != 1 || c.Compared != 2 || c.Differed != 2 || c.DistancePPM != 200_000 || c.Propositions != 1 {
		t.Errorf("candidate: %+v", c)
	}
	if i := first[ArmIncumbent]; i.Decisions != 1 || i.Degraded != 1 || i.Propositions != 2 {
		t.Errorf("incumbent: %+v", i)
	}
	tally.Called(ArmCandidate, 1, 1000, time.Second)
	second := tally.Counts()
	delta := second[ArmCandidate].Sub(first[ArmCandidate])
	if delta.Calls != 1 || delta.Rows != 1 || delta.Errors != 0 || delta.Nanos.Total() != 1 || delta.Fuel.Total() != 1 || len(delta.Scores) != 0 {
		t.Errorf("delta: %+v", delta)
	}
	if sum := first[ArmCandidate].Add(delta); fmt.Sprint(sum) != fmt.Sprint(second[ArmCandidate]) {
		t.Errorf("%+v and the delta make %+v, want %+v", first[ArmCandidate], sum, second[ArmCandidate])
	}
	if zero := second[ArmCandidate].Sub(second[ArmCandidate]); !zero.Zero() {
		t.Errorf("nothing happened: %+v", zero)
	}
}

// TestLimitsHold: many rollouts, events and nodes leave a state that can be read.
func TestLimitsHold(t *testing.T) {
	s := &State{}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	members := []string{"n1"}
	for i := range 3 * MaxRollouts {
		plugin := fmt.Sprintf("p%d", i%(MaxRunning+4))
		next, id, _, err := s.Start(Start{ID: fmt.Sprint(plugin, "-", i), At: at,
			Candidate: Candidate{Plugin: plugin, Version: "2.0.0", Digest: "sha256:2", Incumbent: "1.0.0", IncumbentDigest: "sha256:1"}})
		if err != nil {
			if code := nba.CodeOf(err); code != nba.CodeTooLarge && code != nba.CodeConflict {
				t.Fatal(err)
			}
			for _, r := range s.Running() {
				if s, _, _, err = s.Change(Change{ID: r.ID, Verb: Abort, At: at}); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		s = next
		for k := range 2 * MaxEvents {
			verb := []Verb{Pause, Resume}[k%2]
			if s, _, _, err = s.Change(Change{ID: id, Verb: verb, Members: members, At: at}); err != nil {
				t.Fatal(err)
			}
		}
	}
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(encoded); err != nil {
		t.Error(err)
	}
	if len(s.Rollouts) > MaxRollouts {
		t.Errorf("%d rollouts", len(s.Rollouts))
	}
}

// FuzzParse: whatever Parse accepts can be written, read again, and changed without a panic.
func FuzzParse(f *testing.F) {
	for _, line := range [][]string{
		{"start churn 2.0.0 steps=shadow,10,500", "ack churn-1 n1", "ack churn-1 n2", "count churn-1 n1 1 candidate.calls=10"},
		{"start churn 2.0.0 steps=", "ack churn-1 n1", "ack churn-1 n2", "promote churn-1"},
	} {
		s := newScript()
		for _, l := range line {
			s.run(l)
		}
		encoded, err := json.Marshal(s.state)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := Parse(content)
		if err != nil {
			return
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Skip(err) // times beyond the year 9999
		}
		if _, err := Parse(encoded); err != nil {
			t.Fatalf("%v: %s", err, encoded)
		}
		for i := range s.Rollouts {
			r := &s.Rollouts[i]
			Judge(r, time.Unix(0, 0))
			for _, verb := range []Verb{Promote, Pause, Resume, Abort, Undo, TakeBack} {
				if next, _, _, err := s.Change(Change{ID: r.ID, Verb: verb, Force: true}); err == nil && len(next.Rollouts) != len(s.Rollouts) {
					t.Fatal("a change lost a rollout")
				}
			}
			_, _, _ = s.Acknowledge(r.ID, NodeReady{Node: "n1"}, []string{"n1"}, time.Unix(0, 0))
			_, _, _ = s.Count(&Report{Node: "n1", Sequence: 9, Entries: []Entry{{Rollout: r.ID, Revision: r.Revision, Arms: r.Windows.Total}}}, []string{"n1"}, time.Unix(0, 0))
		}
	})
}

// FuzzTransitions: whatever is asked for in whatever order leaves a state that Parse accepts.
func FuzzTransitions(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{0, 10, 20, 3, 3, 3, 7})
	f.Fuzz(func(t *testing.T, script []byte) {
		s := &State{}
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for i, b := range script {
			at = at.Add(time.Duration(b) * time.Second)
			s = step(s, i, b, at)
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(encoded); err != nil {
			t.Fatalf("%v after %v: %s", err, script, encoded)
		}
	})
}

func step(s *State, i int, b byte, at time.Time) *State {
	members := []string{"n1", "n2"}
	id := ""
	if len(s.Rollouts) > 0 {
		id = s.Rollouts[int(b>>4)%len(s.Rollouts)].ID
	}
	switch b % 10 {
	case 0, 9:
		plugin := fmt.Sprint("p", b>>4&3)
		spec := Spec{Auto: b&16 != 0}
		if b&32 != 0 {
			spec.Steps = []Step{}
		}
		s, _, _, _ = s.Start(Start{ID: fmt.Sprint(plugin, "-", i), Spec: spec, At: at,
			Candidate: Candidate{Plugin: plugin, Version: "2.0.0", Digest: "sha256:2", Incumbent: "1.0.0", IncumbentDigest: "sha256:1"}})
	case 1:
		s, _, _ = s.Acknowledge(id, NodeReady{Node: members[i%2]}, members, at)
	case 2:
		s, _ = s.Activated(fmt.Sprint("p", b>>4&3), "sha256:3", at)
	case 3:
		revision := uint64(0)
		if r, err := s.Find(id); err == nil {
			revision = r.Revision
		}
		counts := Counts{Calls: uint64(b), Scores: Histogram{1, uint64(b)}}
		s, _, _ = s.Count(&Report{Node: members[i%2], Sequence: uint64(i), Entries: []Entry{{Rollout: id, Revision: revision, Arms: [2]Counts{counts, counts}}}}, members, at)
	default:
		verb := []Verb{Promote, Pause, Resume, Abort, Undo, TakeBack}[b%10-4]
		s, _, _, _ = s.Change(Change{ID: id, Verb: verb, Force: b&64 != 0, Members: members, At: at})
	}
	return s
}

// FuzzReport: whatever a node reports is counted or refused, and leaves a state that can be read.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"node":"n1","sequence":1,"entries":[{"rollout":"churn-1","revision":3,"arms":[{"calls":5,"fuel":[0,1]},{"calls":7,"errors":1,"scores":[1,2,3]}]}]}`))
	f.Add([]byte(`{"node":"n2","sequence":18446744073709551615,"entries":[{"rollout":"churn-1","revision":3,"arms":[{"calls":18446744073709551615},{}]}]}`))
	s := newScript()
	for _, line := range []string{"start churn 2.0.0 steps=shadow,10", "ack churn-1 n1", "ack churn-1 n2"} {
		s.run(line)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		var report Report
		if json.Unmarshal(content, &report) != nil {
			return
		}
		state := s.state
		for range 3 {
			next, changed, err := state.Count(&report, s.members, s.now)
			if err != nil && changed {
				t.Fatal("a refused report was counted")
			}
			state = next
			report.Sequence++
		}
		encoded, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(encoded); err != nil {
			t.Fatalf("%v: %s", err, encoded)
		}
		Judge(&state.Rollouts[0], s.now)
	})
}
