//lint:file-ignore SA1019 raft still reads the fields that stand beside RPCHeader

package raftgroup

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func sampleEntries() *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{
		RPCHeader: header("n1"), Leader: []byte("n1"), Term: 7, PrevLogEntry: 41, PrevLogTerm: 6, LeaderCommitIndex: 40,
		Entries: []*raft.Log{
			{Index: 42, Term: 7, Type: raft.LogNoop},
			{Index: 43, Term: 7, Type: raft.LogCommand, Data: []byte("data"), AppendedAt: time.Unix(1700000000, 12345)},
			{Index: 44, Term: 7, Type: raft.LogConfiguration, Data: []byte{0}, Extensions: []byte("more")},
		},
	}
}

func TestMessagesSurviveTheWire(t *testing.T) {
	q := sampleEntries()
	r := reader{rest: appendEntries(nil, "data-00", q)}
	if name := r.group(); string(name) != "data-00" {
		t.Errorf("group %q", name)
	}
	got, err := parseEntries(&r, "n1")
	if err != nil || !reflect.DeepEqual(got, q) {
		t.Errorf("got %+v, %v", got, err)
	}
	a := raft.AppendEntriesResponse{Term: 9, LastLog: 44, Success: true, NoRetryBackoff: true}
	var b raft.AppendEntriesResponse
	if err := parseEntriesAnswer(appendEntriesAnswer(nil, &a), &b); err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("got %+v, %v", b, err)
	}
	for _, s := range []sign{
		{term: 3, last: 9, confirmed: -1},
		{term: 3, last: 9, leads: true, candid: true, index: 8, entryTerm: 2, confirmed: -1},
		{term: 3, last: 9, leads: true, candid: true, content: true, index: 8, entryTerm: 2, confirmed: 5 * time.Millisecond},
		{term: 1, last: 1, newborn: true, confirmed: -1},
	} {
		r := reader{rest: appendSign(nil, "g", &s)}
		r.group()
		if got := r.sign(); got != s || r.err() != nil {
			t.Errorf("got %+v, want %+v (%v)", got, s, r.err())
		}
	}
	configuration := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1"}}})
	head := &raft.InstallSnapshotRequest{RPCHeader: header("n2"), Leader: []byte("n2"), SnapshotVersion: 1, Term: 5, LastLogIndex: 100,
		LastLogTerm: 4, ConfigurationIndex: 1, Configuration: configuration, Size: 1 << 40}
	r = reader{rest: appendSnapshotHead(nil, "g", head)}
	r.group()
	if got, err := parseSnapshotHead(&r, "n2"); err != nil || !reflect.DeepEqual(got, head) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLargeRequestsAreSplit(t *testing.T) {
	q := &raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 9, PrevLogTerm: 1, LeaderCommitIndex: 5}
	for i := range 10 {
		q.Entries = append(q.Entries, &raft.Log{Index: uint64(10 + i), Term: 2, Data: make([]byte, maxAppendBytes/3)})
	}
	q.Entries = append(q.Entries, &raft.Log{Index: 20, Term: 2, Data: make([]byte, 2*maxAppendBytes)})
	parts := split(q)
	next, before := uint64(10), uint64(1)
	for _, p := range parts {
		if p.PrevLogEntry != next-1 || p.PrevLogTerm != before || len(p.Entries) == 0 || p.Term != 2 || p.LeaderCommitIndex != 5 {
			t.Errorf("part after %d of term %d with %d entries", p.PrevLogEntry, p.PrevLogTerm, len(p.Entries))
		}
		for _, e := range p.Entries {
			if e.Index != next {
				t.Errorf("entry %d, want %d", e.Index, next)
			}
			next, before = next+1, e.Term
		}
	}
	if len(parts) != 5 || next != 21 {
		t.Errorf("%d parts up to %d", len(parts), next-1)
	}
	if parts := split(&raft.AppendEntriesRequest{Term: 2}); len(parts) != 1 {
		t.Errorf("%d parts of nothing", len(parts))
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(appendEntries(nil, "data-00", sampleEntries()))
	f.Add(appendVote(nil, "data-00", 3, 2, 1, true))
	f.Add(appendSign(nil, "data-00", &sign{term: 3, leads: true, index: 8, confirmed: 1}))
	f.Add(appendSnapshotHead(nil, "data-00", &raft.InstallSnapshotRequest{SnapshotVersion: 1, Term: 1, Configuration: []byte{0x80}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := reader{rest: b}
		if r.group(); r.bad {
			return
		}
		e, v, s, h := r, r, r, r
		if q, err := parseEntries(&e, "n1"); err == nil {
			again := reader{rest: appendEntries(nil, "g", q)}
			again.group()
			if got, err := parseEntries(&again, "n1"); err != nil || !reflect.DeepEqual(got, q) {
				t.Errorf("%+v became %+v, %v", q, got, err)
			}
		}
		if q, err := parseVote(&v, "n1"); err == nil {
			again := reader{rest: appendVote(nil, "g", q.Term, q.LastLogIndex, q.LastLogTerm, q.LeadershipTransfer)}
			again.group()
			if got, err := parseVote(&again, "n1"); err != nil || !reflect.DeepEqual(got, q) {
				t.Errorf("%+v became %+v, %v", q, got, err)
			}
		}
		if q, err := parseSnapshotHead(&h, "n1"); err == nil {
			if again := appendSnapshotHead(nil, "g", q); len(again) > len(b)+maxGroupName+16 {
				t.Errorf("%d bytes became %d", len(b), len(again))
			}
		}
		if q := s.sign(); !s.bad {
			again := reader{rest: appendSign(nil, "g", &q)}
			again.group()
			if got := again.sign(); got != q || again.bad {
				t.Errorf("%+v became %+v", q, got)
			}
		}
		var a raft.AppendEntriesResponse
		if err := parseEntriesAnswer(b, &a); err == nil && len(appendEntriesAnswer(nil, &a)) > len(b) {
			t.Error("an answer grew")
		}
		if term, granted, err := parseVoteAnswer(b); err == nil {
			if _, _, err := parseVoteAnswer(appendVoteAnswer(nil, term, granted)); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	good := appendEntries(nil, "g", sampleEntries())
	for n := range good {
		r := reader{rest: good[:n]}
		r.group()
		if _, err := parseEntries(&r, "n1"); err == nil {
			t.Errorf("%d of %d bytes were taken", n, len(good))
		}
	}
	r := reader{rest: append(bytes.Clone(good), 0)}
	r.group()
	if _, err := parseEntries(&r, "n1"); err == nil {
		t.Error("a message with more behind it was taken")
	}
}
