package backup

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Head begins a backup.
type Head struct {
	// ID names the backup, a ULID.
	ID string `json:"id"`
	// Cluster and Release are those it was made of, Level the feature level its state may need.
	Cluster string `json:"cluster"`
	Release string `json:"release,omitempty"`
	Level   uint32 `json:"level"`
	// From and To bound the cut: what was acknowledged before From is in the backup, what was begun after To
	// is not, and in between each group stands where its own log says.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// DataGroups is the number of data groups.
	DataGroups int `json:"dataGroups"`
	// ControlBase and DataBase are not below any log index that the state of the control group, or of a data
	// group, keeps.
	ControlBase uint64 `json:"controlBase"`
	DataBase    uint64 `json:"dataBase"`
}

// Group is one group in a backup.
type Group struct {
	// Name is "control", or "data-00" and so on; Number is 0 for the control group.
	Name   string `json:"name"`
	Number int    `json:"number"`
	// Index is where in its log the group stood, and Base what an earlier restore adds to that.
	Index uint64 `json:"index"`
	Base  uint64 `json:"base,omitempty"`
	// Digest is that of the state, in hexadecimal, as the replicas keep it up.
	Digest string `json:"digest"`
	// Pairs, Bytes and Chunks count what the group holds. They are known at its end.
	Pairs  int64 `json:"pairs"`
	Bytes  int64 `json:"bytes"`
	Chunks int64 `json:"chunks"`
	// Same is true in a stream when the group is as it was in the receiver's last backup: no chunks follow.
	Same bool `json:"same,omitempty"`
}

// Blob is one plugin artifact in a backup.
type Blob struct {
	// Digest is "sha256:" and 64 hexadecimal digits.
	Digest string `json:"digest"`
	Bytes  int64  `json:"bytes"`
}

// Frames of a stream: kind (1), length of the rest as a uvarint, the rest.
const (
	frameHead  = 1 // Head
	frameGroup = 2 // Group: chunks and references follow
	frameChunk = 3 // SHA-256 of the content (32), content compressed with zstd
	frameRef   = 4 // SHA-256 of a content that the receiver has, or that came before (32)
	frameDone  = 5 // Group or Blob, with its counts
	frameBlob  = 6 // Blob: chunks and references follow
	frameEnd   = 7 // SHA-256 of all before it (32)
	frameFail  = 8 // nba.Error

	streamMagic = "ARBBKUP1"
	maxFrame    = MaxChunk + 1<<20
)

// Writer writes a stream. It is used by one goroutine.
type Writer struct {
	to  *bufio.Writer
	sum hash.Hash
	err error
}

// NewWriter begins a stream.
func NewWriter(to io.Writer, head Head) *Writer {
	w := &Writer{sum: sha256.New()}
	w.to = bufio.NewWriterSize(io.MultiWriter(to, w.sum), 256<<10)
	_, w.err = w.to.WriteString(streamMagic)
	w.json(frameHead, head)
	return w
}

func (w *Writer) frame(kind byte, parts ...[]byte) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	head := binary.AppendUvarint([]byte{kind}, uint64(size))
	for _, p := range append([][]byte{head}, parts...) {
		if w.err == nil {
			_, w.err = w.to.Write(p)
		}
	}
}

func (w *Writer) json(kind byte, v any) {
	raw, err := json.Marshal(v)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.frame(kind, raw)
}

// Group begins a group, Blob an artifact; Done ends either.
func (w *Writer) Group(g Group) error { w.json(frameGroup, g); return w.err }

// Blob begins an artifact.
func (w *Writer) Blob(b Blob) error { w.json(frameBlob, b); return w.err }

// Done ends a group or an artifact with what is known of it then.
func (w *Writer) Done(v any) error { w.json(frameDone, v); return w.err }

// Chunk writes a chunk; compressed is its content as Compress made it.
func (w *Writer) Chunk(id ID, compressed []byte) error {
	w.frame(frameChunk, id[:], compressed)
	return w.err
}

// Ref writes that a chunk is next which the receiver has.
func (w *Writer) Ref(id ID) error {
	w.frame(frameRef, id[:])
	return w.err
}

// End ends the stream, which is not whole before.
func (w *Writer) End() error {
	if w.err == nil {
		w.err = w.to.Flush()
	}
	w.frame(frameEnd, w.sum.Sum(nil))
	if w.err == nil {
		w.err = w.to.Flush()
	}
	return w.err
}

// Fail ends the stream with what went wrong, so that the receiver need not guess.
func (w *Writer) Fail(problem *nba.Error) error {
	w.json(frameFail, failure{Code: problem.Code, Message: problem.Message})
	if w.err == nil {
		w.err = w.to.Flush()
	}
	return w.err
}

type failure struct {
	Code    nba.Code `json:"code"`
	Message string   `json:"message"`
}

// Receiver is told what a stream holds, in its order, by the goroutine that reads it.
type Receiver interface {
	Begin(head Head) error
	Group(g Group) error
	Blob(b Blob) error
	// Chunk is given a chunk of the group or the artifact begun last: compressed, or nil for one that the
	// receiver has. It may keep it.
	Chunk(id ID, compressed []byte) error
	GroupDone(g Group) error
	BlobDone(b Blob) error
}

// Read reads a whole stream. A stream that was cut short, or changed, is ErrDamaged; the chunks it held so
// far are what they say.
func Read(from io.Reader, to Receiver) error {
	r := &frames{from: bufio.NewReaderSize(from, 256<<10), sum: sha256.New()}
	magic := make([]byte, len(streamMagic))
	if err := r.full(magic); err != nil || string(magic) != streamMagic {
		return fmt.Errorf("%w: not the stream of a backup", ErrDamaged)
	}
	state := &reading{to: to}
	for {
		sum := r.sum.Sum(nil)
		kind, body, err := r.next()
		if err != nil {
			return err
		}
		if kind == frameEnd {
			if string(sum) != string(body) || state.begun != frameHead {
				return fmt.Errorf("%w: the stream has another checksum than its end says", ErrDamaged)
			}
			return nil
		}
		if err := state.take(kind, body); err != nil {
			return err
		}
	}
}

// reading is where in a stream a reader is: begun is frameHead between groups.
type reading struct {
	to    Receiver
	begun byte
}

func (s *reading) take(kind byte, body []byte) error {
	switch {
	case kind == frameFail:
		var f failure
		if err := json.Unmarshal(body, &f); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return &nba.Error{Code: f.Code, Message: f.Message}
	case kind == frameHead && s.begun == 0:
		s.begun = frameHead
		return decoded(body, s.to.Begin)
	case kind == frameGroup && s.begun == frameHead:
		s.begun = kind
		return decoded(body, s.to.Group)
	case kind == frameBlob && s.begun == frameHead:
		s.begun = kind
		return decoded(body, s.to.Blob)
	case (kind == frameChunk || kind == frameRef) && (s.begun == frameGroup || s.begun == frameBlob):
		var id ID
		if n := copy(id[:], body); n < len(id) || kind == frameRef && len(body) > n {
			break
		}
		if kind == frameRef {
			return s.to.Chunk(id, nil)
		}
		return s.to.Chunk(id, body[len(id):])
	case kind == frameDone && s.begun == frameGroup:
		s.begun = frameHead
		return decoded(body, s.to.GroupDone)
	case kind == frameDone && s.begun == frameBlob:
		s.begun = frameHead
		return decoded(body, s.to.BlobDone)
	}
	return fmt.Errorf("%w: a frame of kind %d out of its place", ErrDamaged, kind)
}

func decoded[T any](body []byte, fn func(T) error) error {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return fn(v)
}

type frames struct {
	from *bufio.Reader
	sum  hash.Hash
}

func (r *frames) full(b []byte) error {
	if _, err := io.ReadFull(r.from, b); err != nil {
		return fmt.Errorf("%w: the stream ends early (%w)", ErrDamaged, err)
	}
	r.sum.Write(b) // a hash never fails
	return nil
}

// ReadByte implements io.ByteReader.
func (r *frames) ReadByte() (byte, error) {
	var b [1]byte
	err := r.full(b[:])
	return b[0], err
}

// step bounds what is allocated before it came, so that a wrong length costs no more memory than there is.
const step = 1 << 20

func (r *frames) next() (kind byte, body []byte, err error) {
	if kind, err = r.ReadByte(); err != nil {
		return 0, nil, err
	}
	size, err := binary.ReadUvarint(r)
	if err != nil || size > maxFrame {
		return 0, nil, fmt.Errorf("%w: a frame without a length", ErrDamaged)
	}
	for uint64(len(body)) < size {
		at := len(body)
		body = append(body, make([]byte, min(size-uint64(at), step))...)
		if err := r.full(body[at:]); err != nil {
			return 0, nil, err
		}
	}
	return kind, body, nil
}

// Codec compresses and decompresses chunks. It is safe for concurrent use.
type Codec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

// NewCodec makes a Codec. Close ends it.
func NewCodec() (*Codec, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, fmt.Errorf("making a compressor: %w", err)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxChunk+1<<20), zstd.WithDecoderConcurrency(2))
	if err != nil {
		return nil, fmt.Errorf("making a decompressor: %w", err)
	}
	return &Codec{encoder: encoder, decoder: decoder}, nil
}

// Close frees what the Codec holds.
func (c *Codec) Close() { c.decoder.Close() }

// Compress compresses a chunk.
func (c *Codec) Compress(chunk []byte) []byte {
	return c.encoder.EncodeAll(chunk, make([]byte, 0, len(chunk)/2))
}

// Open decompresses a chunk and checks that it is the one of the id.
func (c *Codec) Open(id ID, compressed []byte) ([]byte, error) {
	chunk, err := c.decoder.DecodeAll(compressed, nil)
	if err != nil || len(chunk) > MaxChunk || IDOf(chunk) != id {
		return nil, fmt.Errorf("%w: chunk %s is not what it was", ErrDamaged, id)
	}
	return chunk, nil
}
