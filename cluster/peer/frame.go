package peer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// lane tells what a connection is for.
type lane byte

const (
	laneUrgent lane = 1
	laneBulk   lane = 2
	laneStream lane = 3 // one transfer, then it is closed
	// laneStranger is for one question of a node that is in no list yet; see Ask.
	laneStranger lane = 4
)

const (
	version = 1
	// maxName bounds the ids of nodes and clusters.
	maxName = 64
)

// The kinds of frames.
const (
	frameRequest byte = 1
	frameAnswer  byte = 2
	frameError   byte = 3 // the answer is an *nba.Error
	frameFault   byte = 4 // the answer is a fault of the other node, as text
	frameCancel  byte = 5 // nobody waits for the answer any more
	frameChunk   byte = 6 // of a transfer
	frameEnd     byte = 7 // of a transfer, complete
)

// A frame is {length uint32, crc32c uint32, kind, method uint16, id uint64, body}, little-endian.
// The length counts what follows it; the checksum covers what follows that. The body of a request
// begins with {milliseconds until the deadline uint32 (0: none), length of the trace uint8, trace}.
const (
	frameHead = 4 + 4
	frameRest = 1 + 2 + 8
	maxTrace  = 128
)

// frame is one message, as read. body is not shared.
type frame struct {
	kind   byte
	method Method
	id     uint64
	body   []byte
}

var errFrame = errors.New("malformed frame")

// beginFrame appends the head of a frame; endFrame completes what was appended since.
func beginFrame(dst []byte, kind byte, m Method, id uint64) []byte {
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, kind)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(m))
	return binary.LittleEndian.AppendUint64(dst, id)
}

func endFrame(dst []byte, start int) {
	frame := dst[start:]
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-4))
	binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(frame[8:], crc32.MakeTable(crc32.Castagnoli)))
}

func appendFrame(dst []byte, kind byte, m Method, id uint64, body []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, kind, m, id)
	dst = append(dst, body...)
	endFrame(dst, start)
	return dst
}

// appendRequest appends a request whose body is head and body one after the other.
func appendRequest(dst []byte, m Method, id uint64, deadlineMS uint32, trace string, head, body []byte) []byte {
	start := len(dst)
	dst = beginFrame(dst, frameRequest, m, id)
	dst = binary.LittleEndian.AppendUint32(dst, deadlineMS)
	if len(trace) > maxTrace {
		trace = ""
	}
	dst = append(dst, byte(len(trace)))
	dst = append(dst, trace...)
	dst = append(dst, head...)
	dst = append(dst, body...)
	endFrame(dst, start)
	return dst
}

func parseRequest(body []byte) (deadlineMS uint32, trace string, request []byte, err error) {
	if len(body) < 5 {
		return 0, "", nil, errFrame
	}
	deadlineMS = binary.LittleEndian.Uint32(body)
	n := int(body[4])
	if n > maxTrace || len(body) < 5+n {
		return 0, "", nil, errFrame
	}
	return deadlineMS, string(body[5 : 5+n]), body[5+n:], nil
}

// readFrame reads one frame with a body of at most limit bytes.
func readFrame(r *bufio.Reader, limit int) (frame, error) {
	head, err := r.Peek(frameHead)
	if err != nil {
		if errors.Is(err, io.EOF) && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	length, sum := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
	if length < 4+frameRest {
		return frame{}, fmt.Errorf("%w: it is too short", errFrame)
	}
	if int64(length) > int64(limit)+4+frameRest {
		return frame{}, fmt.Errorf("%w: it is larger than %d bytes", errFrame, limit)
	}
	if _, err := r.Discard(frameHead); err != nil {
		return frame{}, err
	}
	rest := make([]byte, length-4)
	if _, err := io.ReadFull(r, rest); err != nil {
		return frame{}, err
	}
	if crc32.Checksum(rest, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return frame{}, fmt.Errorf("%w: its checksum does not match", errFrame)
	}
	return frame{
		kind: rest[0], method: Method(binary.LittleEndian.Uint16(rest[1:])), id: binary.LittleEndian.Uint64(rest[3:]),
		body: rest[frameRest:],
	}, nil
}

// The preamble of the node that connects: {magic, version, lane, then cluster id, own id and the id
// of the node it wants, each with its length as uint8}. The answer: {magic, version, status, cluster
// id, own id}.
const magic = "ARBP"

// The answers to a preamble.
const (
	statusOK byte = iota
	statusVersion
	statusCluster
	statusNotMe
	statusStranger
	statusFull
)

type greeting struct {
	version byte
	lane    lane // status, in the answer
	cluster string
	from    string
	to      string // not in the answer
}

func appendGreeting(dst []byte, g greeting, answer bool) []byte {
	dst = append(dst, magic...)
	dst = append(dst, g.version, byte(g.lane))
	names := []string{g.cluster, g.from, g.to}
	if answer {
		names = names[:2]
	}
	for _, name := range names {
		dst = append(dst, byte(len(name)))
		dst = append(dst, name...)
	}
	return dst
}

func readGreeting(r io.Reader, answer bool) (g greeting, err error) {
	var head [len(magic) + 2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return g, err
	}
	if string(head[:len(magic)]) != magic {
		return g, errors.New("the other side is no node of this project")
	}
	g.version, g.lane = head[len(magic)], lane(head[len(magic)+1])
	if g.version != version && !answer {
		return g, nil // what follows may look different
	}
	names := []*string{&g.cluster, &g.from, &g.to}
	if answer {
		names = names[:2]
	}
	for _, name := range names {
		var n [1]byte
		if _, err := io.ReadFull(r, n[:]); err != nil {
			return g, err
		}
		if n[0] > maxName {
			return g, errors.New("an id in the preamble is too long")
		}
		text := make([]byte, n[0])
		if _, err := io.ReadFull(r, text); err != nil {
			return g, err
		}
		*name = string(text)
	}
	return g, nil
}

// refusal explains the answer to a preamble.
func refusal(status byte, own Config, node, address string, answer greeting) error {
	switch status {
	case statusOK:
		return nil
	case statusVersion:
		return fmt.Errorf("node %s at %s speaks version %d of the protocol and this one %d: upgrade the older", node, address, answer.version, version)
	case statusCluster:
		return fmt.Errorf("the node at %s belongs to cluster %s and this one to %s: correct the address of %s, or begin with an empty data folder", address, answer.cluster, own.ClusterID, node)
	case statusNotMe:
		return fmt.Errorf("the node at %s is %s, not %s: correct the addresses", address, answer.from, node)
	case statusStranger:
		return fmt.Errorf("node %s does not know %s: add it to its list of nodes, or, if it was removed, start it with an empty folder and let it join", node, own.NodeID)
	case statusFull:
		return fmt.Errorf("node %s accepts no more connections", node)
	default:
		return fmt.Errorf("node %s refused the connection with the unknown status %d", node, status)
	}
}
