//lint:file-ignore SA1019 raft still reads the fields that stand beside RPCHeader

package raftgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/peer"
)

// The methods of a port that groups use. docs/format/peer-protocol.md describes their messages.
const (
	methodBeat      = peer.FirstRaft + iota // AppendEntries without entries, as a sign of life
	methodVote                              // RequestVote
	methodPreVote                           // RequestPreVote
	methodTakeOver                          // TimeoutNow
	methodConfirm                           // which terms are current
	methodReadIndex                         // how far a replica must be to read

	methodAppend   = peer.FirstBulk     // AppendEntries
	methodSnapshot = peer.FirstBulk + 1 // InstallSnapshot, as a transfer
)

var errWire = errors.New("a message of another node is malformed")

// maxGroupName bounds the names of groups.
const maxGroupName = 64

// Messages begin with the group's name. Numbers are uvarints, every text has its length before it.

func appendText[T ~string | ~[]byte](dst []byte, v T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

// reader reads a message. bad is set by the first field that is not there.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	v := r.rest[:n:n]
	r.rest = r.rest[n:]
	return v
}

// group reads the name of a group.
func (r *reader) group() []byte {
	name := r.bytes()
	if len(name) == 0 || len(name) > maxGroupName {
		r.bad = true
	}
	return name
}

func (r *reader) flag() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	v := r.rest[0]
	r.rest = r.rest[1:]
	return v
}

func (r *reader) err() error {
	if r.bad || len(r.rest) > 0 {
		return errWire
	}
	return nil
}

// header is the sender of a message; the connection tells who that is.
func header(from string) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(from), Addr: []byte(from)}
}

// appendEntries appends an AppendEntries request: group, term, previous index, previous term, commit
// index, count, and that many entries {index beyond the previous entry, term, type, time in
// nanoseconds since 1970, data, extensions}.
func appendEntries(dst []byte, group string, q *raft.AppendEntriesRequest) []byte {
	dst = appendText(dst, group)
	for _, v := range []uint64{q.Term, q.PrevLogEntry, q.PrevLogTerm, q.LeaderCommitIndex, uint64(len(q.Entries))} {
		dst = binary.AppendUvarint(dst, v)
	}
	before := q.PrevLogEntry
	for _, e := range q.Entries {
		dst = binary.AppendUvarint(dst, e.Index-before)
		dst = binary.AppendUvarint(dst, e.Term)
		dst = append(dst, byte(e.Type))
		at := int64(0)
		if !e.AppendedAt.IsZero() {
			at = e.AppendedAt.UnixNano()
		}
		dst = binary.AppendVarint(dst, at)
		dst = appendText(dst, e.Data)
		dst = appendText(dst, e.Extensions)
		before = e.Index
	}
	return dst
}

const (
	// minEntryBytes is what an entry takes at least.
	minEntryBytes = 6
	// maxRequestEntries bounds the entries of a request; raft sends no more.
	maxRequestEntries = 1024
)

// parseEntries reads an AppendEntries request after the group's name. The entries share its bytes.
func parseEntries(r *reader, from string) (*raft.AppendEntriesRequest, error) {
	q := &raft.AppendEntriesRequest{RPCHeader: header(from), Leader: []byte(from)}
	q.Term, q.PrevLogEntry, q.PrevLogTerm, q.LeaderCommitIndex = r.number(), r.number(), r.number(), r.number()
	n := r.number()
	if r.bad || n > maxRequestEntries || n > uint64(len(r.rest)/minEntryBytes) {
		return nil, errWire
	}
	entries := make([]raft.Log, n)
	q.Entries = make([]*raft.Log, n)
	before := q.PrevLogEntry
	for i := range entries {
		e := &entries[i]
		step := r.number()
		e.Index = before + step
		e.Term, e.Type = r.number(), raft.LogType(r.flag())
		at, k := binary.Varint(r.rest)
		if k <= 0 || step == 0 || e.Index < before || e.Type > raft.LogConfiguration {
			return nil, errWire
		}
		r.rest = r.rest[k:]
		if at != 0 {
			e.AppendedAt = time.Unix(0, at)
		}
		if data := r.bytes(); len(data) > 0 {
			e.Data = data
		}
		if extensions := r.bytes(); len(extensions) > 0 {
			e.Extensions = extensions
		}
		before = e.Index
		q.Entries[i] = e
	}
	return q, r.err()
}

// The flags of answers.
const (
	flagSuccess        = 1 << 0
	flagNoRetryBackoff = 1 << 1
)

func flagOf(set bool, flag byte) byte {
	if set {
		return flag
	}
	return 0
}

func appendEntriesAnswer(dst []byte, a *raft.AppendEntriesResponse) []byte {
	dst = binary.AppendUvarint(dst, a.Term)
	dst = binary.AppendUvarint(dst, a.LastLog)
	return append(dst, flagOf(a.Success, flagSuccess)|flagOf(a.NoRetryBackoff, flagNoRetryBackoff))
}

func parseEntriesAnswer(b []byte, a *raft.AppendEntriesResponse) error {
	r := reader{rest: b}
	a.Term, a.LastLog = r.number(), r.number()
	flags := r.flag()
	a.Success, a.NoRetryBackoff = flags&flagSuccess != 0, flags&flagNoRetryBackoff != 0
	return r.err()
}

// appendVote appends a request of a vote, or of the promise of one.
func appendVote(dst []byte, group string, term, lastIndex, lastTerm uint64, transfer bool) []byte {
	dst = appendText(dst, group)
	for _, v := range []uint64{term, lastIndex, lastTerm} {
		dst = binary.AppendUvarint(dst, v)
	}
	return append(dst, flagOf(transfer, flagSuccess))
}

func parseVote(r *reader, from string) (*raft.RequestVoteRequest, error) {
	q := &raft.RequestVoteRequest{RPCHeader: header(from), Candidate: []byte(from)}
	q.Term, q.LastLogIndex, q.LastLogTerm = r.number(), r.number(), r.number()
	q.LeadershipTransfer = r.flag()&flagSuccess != 0
	return q, r.err()
}

func appendVoteAnswer(dst []byte, term uint64, granted bool) []byte {
	return append(binary.AppendUvarint(dst, term), flagOf(granted, flagSuccess))
}

func parseVoteAnswer(b []byte) (term uint64, granted bool, err error) {
	r := reader{rest: b}
	term = r.number()
	granted = r.flag()&flagSuccess != 0
	return term, granted, r.err()
}

func appendSnapshotHead(dst []byte, group string, q *raft.InstallSnapshotRequest) []byte {
	dst = appendText(dst, group)
	for _, v := range []uint64{uint64(q.SnapshotVersion), q.Term, q.LastLogIndex, q.LastLogTerm, q.ConfigurationIndex, uint64(q.Size)} {
		dst = binary.AppendUvarint(dst, v)
	}
	return appendText(dst, q.Configuration)
}

func parseSnapshotHead(r *reader, from string) (*raft.InstallSnapshotRequest, error) {
	q := &raft.InstallSnapshotRequest{RPCHeader: header(from), Leader: []byte(from)}
	kind := r.number()
	q.SnapshotVersion = raft.SnapshotVersion(min(kind, math.MaxInt32))
	q.Term, q.LastLogIndex, q.LastLogTerm, q.ConfigurationIndex = r.number(), r.number(), r.number(), r.number()
	size := r.number()
	q.Configuration = append([]byte(nil), r.bytes()...)
	if size > math.MaxInt64 {
		return nil, errWire
	}
	q.Size = int64(size)
	if err := checkConfiguration(q.Configuration); err != nil {
		return nil, err
	}
	return q, r.err()
}

// checkConfiguration guards raft, which panics over one that cannot be decoded.
func checkConfiguration(b []byte) (err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("%w: the configuration of its snapshot cannot be read", errWire)
		}
	}()
	raft.DecodeConfiguration(b)
	return nil
}

// sign is what a node says about one of its replicas in each pulse.
type sign struct {
	term uint64
	last uint64 // index of the last entry of its log
	// leads is true if raft leads there and all before its election is applied. Then index and
	// entryTerm are where the state stands, and confirmed how long ago a quorum confirmed that it leads.
	leads     bool
	index     uint64
	entryTerm uint64
	confirmed time.Duration // negative: never
	// candid is true if raft leads there, whether or not it is ready.
	candid bool
	// content is true if the replica knows a leader that it has no reason to doubt.
	content bool
	// newborn is true while the replica may not vote; see founding.
	newborn bool
}

const (
	signLeads     = 1 << 0
	signCandid    = 1 << 1
	signNewborn   = 1 << 2
	signConfirmed = 1 << 3
	signContent   = 1 << 4
)

func appendSign(dst []byte, group string, s *sign) []byte {
	dst = appendText(dst, group)
	dst = append(dst, flagOf(s.leads, signLeads)|flagOf(s.candid, signCandid)|flagOf(s.newborn, signNewborn)|flagOf(s.content, signContent)|
		flagOf(s.leads && s.confirmed >= 0, signConfirmed))
	dst = binary.AppendUvarint(dst, s.term)
	dst = binary.AppendUvarint(dst, s.last)
	if s.leads {
		dst = binary.AppendUvarint(dst, s.index)
		dst = binary.AppendUvarint(dst, s.entryTerm)
		dst = binary.AppendUvarint(dst, uint64(max(s.confirmed, 0)))
	}
	return dst
}

// sign reads a sign after the group's name.
func (r *reader) sign() (s sign) {
	flags := r.flag()
	s.leads, s.candid, s.newborn = flags&signLeads != 0, flags&signCandid != 0, flags&signNewborn != 0
	s.content = flags&signContent != 0
	s.term, s.last, s.confirmed = r.number(), r.number(), -1
	if s.leads {
		s.index, s.entryTerm = r.number(), r.number()
		confirmed := r.number()
		if flags&signConfirmed != 0 {
			s.confirmed = time.Duration(min(confirmed, math.MaxInt64))
		}
	}
	return s
}
