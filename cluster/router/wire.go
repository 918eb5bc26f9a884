package router

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// What nodes say to each other about the operations of a group. Numbers are uvarints, and every text
// or operation has its length before it.
//
//	submit   group, count, that many operations -> answers
//	propose  group, entry                       -> answers
//	answers  answered, applied index of the group, count, that many answers; or
//	         notLeader, leader
//	answer   done, flags, version, decision id if the flags say so; or refused, error; or moved, leader
//	error    code, message, details as JSON
const (
	replyAnswers   = 0
	replyNotLeader = 1

	answerDone    = 0
	answerRefused = 1
	// answerMoved is that of an operation whose group lost its leader before it was proposed.
	answerMoved = 2

	resultCreated   = 1 << 0
	resultDuplicate = 1 << 1
	resultReplayed  = 1 << 2
	resultDecision  = 1 << 3 // a decision id follows
	resultFlags     = resultCreated | resultDuplicate | resultReplayed | resultDecision
)

var errWire = errors.New("a message of another node is malformed")

func appendBytes[T ~string | ~[]byte](dst []byte, v T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

// scanner reads a message. bad is set by the first field that is not there.
type scanner struct {
	rest []byte
	bad  bool
}

func (s *scanner) number() uint64 {
	v, n := binary.Uvarint(s.rest)
	if n <= 0 {
		s.bad, s.rest = true, nil
		return 0
	}
	s.rest = s.rest[n:]
	return v
}

func (s *scanner) bytes() []byte {
	n := s.number()
	if n > uint64(len(s.rest)) {
		s.bad, s.rest = true, nil
		return nil
	}
	v := s.rest[:n:n]
	s.rest = s.rest[n:]
	return v
}

func (s *scanner) text() string { return string(s.bytes()) }

// err is for the end of a message.
func (s *scanner) err() error {
	if s.bad || len(s.rest) > 0 {
		return errWire
	}
	return nil
}

func appendSubmit(dst []byte, group uint64, ops [][]byte) []byte {
	dst = binary.AppendUvarint(dst, group)
	dst = binary.AppendUvarint(dst, uint64(len(ops)))
	for _, op := range ops {
		dst = appendBytes(dst, op)
	}
	return dst
}

func parseSubmit(message []byte) (group uint64, ops [][]byte, err error) {
	s := scanner{rest: message}
	group = s.number()
	n := s.number()
	if n > command.MaxOps {
		return 0, nil, errWire
	}
	for range n {
		if s.bad {
			break
		}
		ops = append(ops, s.bytes())
	}
	return group, ops, s.err()
}

func appendPropose(dst []byte, group uint64, entry []byte) []byte {
	return appendBytes(binary.AppendUvarint(dst, group), entry)
}

func parsePropose(message []byte) (group uint64, entry []byte, err error) {
	s := scanner{rest: message}
	group, entry = s.number(), s.bytes()
	return group, entry, s.err()
}

func appendNotLeader(dst []byte, leader string) []byte {
	return appendBytes(binary.AppendUvarint(dst, replyNotLeader), leader)
}

func appendAnswers(dst []byte, applied uint64, answers []raftgroup.Answer) []byte {
	dst = binary.AppendUvarint(dst, replyAnswers)
	dst = binary.AppendUvarint(dst, applied)
	dst = binary.AppendUvarint(dst, uint64(len(answers)))
	for i := range answers {
		dst = appendAnswer(dst, &answers[i])
	}
	return dst
}

func appendAnswer(dst []byte, a *raftgroup.Answer) []byte {
	if moved, ok := errors.AsType[*raftgroup.NotLeader](a.Err); ok {
		return appendBytes(binary.AppendUvarint(dst, answerMoved), moved.Leader)
	}
	if a.Err != nil {
		return appendError(binary.AppendUvarint(dst, answerRefused), a.Err)
	}
	flags := uint64(0)
	for _, f := range [...]struct {
		set bool
		bit uint64
	}{{a.Result.Created, resultCreated}, {a.Result.Duplicate, resultDuplicate}, {a.Result.Replayed, resultReplayed},
		{a.Result.Decision != ulid.Zero, resultDecision}} {
		if f.set {
			flags |= f.bit
		}
	}
	dst = binary.AppendUvarint(dst, answerDone)
	dst = binary.AppendUvarint(dst, flags)
	dst = binary.AppendUvarint(dst, a.Result.Version)
	if flags&resultDecision != 0 {
		dst = append(dst, a.Result.Decision[:]...)
	}
	return dst
}

func (s *scanner) result() (result fsm.Result) {
	flags := s.number()
	s.bad = s.bad || flags&^resultFlags != 0
	result = fsm.Result{Created: flags&resultCreated != 0, Duplicate: flags&resultDuplicate != 0,
		Replayed: flags&resultReplayed != 0, Version: s.number()}
	if flags&resultDecision != 0 {
		if len(s.rest) < len(result.Decision) {
			s.bad = true
			return result
		}
		s.rest = s.rest[copy(result.Decision[:], s.rest):]
	}
	return result
}

// appendError writes what a caller may see of err.
func appendError(dst []byte, err error) []byte {
	shown, ok := errors.AsType[*nba.Error](err)
	if !ok {
		shown = &nba.Error{Code: nba.CodeInternal, Message: err.Error()}
	}
	var details []byte
	if len(shown.Details) > 0 {
		details, _ = json.Marshal(shown.Details) // texts and numbers alone
	}
	dst = appendBytes(dst, string(shown.Code))
	dst = appendBytes(dst, shown.Message)
	return appendBytes(dst, details)
}

func (s *scanner) remoteError() error {
	shown := &nba.Error{Code: nba.Code(s.text()), Message: s.text()}
	if details := s.bytes(); len(details) > 0 && json.Unmarshal(details, &shown.Details) != nil {
		s.bad = true
	}
	if shown.Code == nba.CodeInternal || shown.Code == "" {
		return fmt.Errorf("the node that leads the group: %s", shown.Message)
	}
	return shown
}

// parseAnswers reads the answers to n operations of a group.
func parseAnswers(message []byte, group string, n int) (answers []raftgroup.Answer, applied uint64, err error) {
	s := scanner{rest: message}
	if s.number() == replyNotLeader {
		leader := s.text()
		if err := s.err(); err != nil {
			return nil, 0, err
		}
		return nil, 0, raftgroup.ErrNotLeader(group, leader)
	}
	applied = s.number()
	if count := s.number(); n >= 0 && count != uint64(n) || count > command.MaxOps || s.bad {
		return nil, 0, errWire
	} else {
		n = int(count)
	}
	answers = make([]raftgroup.Answer, n)
	for i := range answers {
		switch s.number() {
		case answerDone:
			answers[i].Result = s.result()
		case answerRefused:
			answers[i].Err = s.remoteError()
		case answerMoved:
			answers[i].Err = raftgroup.ErrNotLeader(group, s.text())
		default:
			s.bad = true
		}
		if s.bad {
			return nil, 0, errWire
		}
	}
	return answers, applied, s.err()
}
