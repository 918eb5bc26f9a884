package router

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func someAnswers() []raftgroup.Answer {
	return []raftgroup.Answer{
		{Result: fsm.Result{Version: 7, Created: true}},
		{Result: fsm.Result{Duplicate: true, Replayed: true, Decision: ulid.ULID{1, 2, 15: 3}}},
		{Err: &nba.Error{Code: nba.CodePrecondition, Message: "moved on", Details: []nba.Detail{{Pointer: "/a", Code: nba.CodeInvalid, Detail: "x"}}}},
		{Err: raftgroup.ErrNotLeader("data-03", "n2")},
		{Result: fsm.Result{}},
	}
}

func TestAnswersTravel(t *testing.T) {
	sent := someAnswers()
	got, applied, err := parseAnswers(appendAnswers(nil, 99, sent), "data-03", len(sent))
	if err != nil || applied != 99 {
		t.Fatal(applied, err)
	}
	for i := range sent {
		if !reflect.DeepEqual(got[i].Result, sent[i].Result) {
			t.Errorf("answer %d: sent %+v, got %+v", i, sent[i].Result, got[i].Result)
		}
		if nba.CodeOf(got[i].Err) != nba.CodeOf(sent[i].Err) {
			t.Errorf("answer %d: sent %v, got %v", i, sent[i].Err, got[i].Err)
		}
	}
	if e, ok := errors.AsType[*nba.Error](got[2].Err); !ok || len(e.Details) != 1 || e.Details[0].Pointer != "/a" {
		t.Errorf("the details are lost: %+v", got[2].Err)
	}
	if moved, ok := errors.AsType[*raftgroup.NotLeader](got[3].Err); !ok || moved.Leader != "n2" {
		t.Errorf("the leader is lost: %v", got[3].Err)
	}
	if _, _, err := parseAnswers(appendAnswers(nil, 99, sent), "data-03", len(sent)+1); !errors.Is(err, errWire) {
		t.Errorf("an answer is missing: %v", err)
	}
	_, _, err = parseAnswers(appendNotLeader(nil, "n3"), "data-03", 1)
	if moved, ok := errors.AsType[*raftgroup.NotLeader](err); !ok || moved.Leader != "n3" {
		t.Errorf("the leader of the group is lost: %v", err)
	}
	if _, _, err := parseAnswers(nil, "data-03", 1); err == nil {
		t.Error("no answer is one")
	}
}

// TestEveryResultFieldTravels notices a field of Result that was added and is not sent, unless it is
// named here as one that nobody who forwards reads.
func TestEveryResultFieldTravels(t *testing.T) {
	notSent := map[string]bool{"Err": true, "Value": true}
	full := fsm.Result{Version: 1, Created: true, Duplicate: true, Replayed: true, Decision: ulid.ULID{15: 1}}
	got, _, err := parseAnswers(appendAnswers(nil, 0, []raftgroup.Answer{{Result: full}}), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(got[0].Result)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && !notSent[name] {
			t.Errorf("%s is not sent", name)
		}
	}
}

func TestSubmitTravels(t *testing.T) {
	ops := [][]byte{[]byte("one"), {}, bytes.Repeat([]byte("x"), 1000)}
	group, got, err := parseSubmit(appendSubmit(nil, 17, ops))
	if err != nil || group != 17 || len(got) != 3 || string(got[0]) != "one" || len(got[1]) != 0 || !bytes.Equal(got[2], ops[2]) {
		t.Errorf("group %d, %d operations, %v", group, len(got), err)
	}
	group, entry, err := parsePropose(appendPropose(nil, 3, []byte("entry")))
	if err != nil || group != 3 || string(entry) != "entry" {
		t.Errorf("group %d, %q, %v", group, entry, err)
	}
}

func FuzzAnswersOnTheWire(f *testing.F) {
	f.Add(appendAnswers(nil, 99, someAnswers()), 5)
	f.Add(appendNotLeader(nil, "n3"), 1)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, message []byte, n int) {
		answers, _, err := parseAnswers(message, "g", min(max(n, -1), 1000))
		if err == nil && n >= 0 && n <= 1000 && len(answers) != n {
			t.Fatalf("%d answers to %d operations", len(answers), n)
		}
	})
}

func FuzzSubmitOnTheWire(f *testing.F) {
	f.Add(appendSubmit(nil, 1, [][]byte{[]byte("a"), []byte("b")}))
	f.Add(appendPropose(nil, 1, []byte("entry")))
	f.Fuzz(func(t *testing.T, message []byte) {
		if group, ops, err := parseSubmit(message); err == nil {
			if again, second, err := parseSubmit(appendSubmit(nil, group, ops)); err != nil || again != group || len(second) != len(ops) {
				t.Fatalf("written again: %v", err)
			}
		}
		_, _, _ = parsePropose(message)
	})
}
