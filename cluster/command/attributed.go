package command

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/arbiterhq/arbiter/runtime/auth"
)

// Attribution tells on whose behalf something is changed, for the audit log.
type Attribution struct {
	Actor auth.Principal `json:"actor"`
	// Action is the operation of the API, Object the path it was called with, without values of the
	// request's body, Request the id of the request.
	Action  string `json:"action"`
	Object  string `json:"object,omitempty"`
	Request string `json:"request,omitempty"`
}

// AttributedOp is an operation of the control group with its attribution.
type AttributedOp struct {
	By Attribution
	// Op is the operation, as its Append made it.
	Op []byte
}

// Append appends the operation to dst.
func (a *AttributedOp) Append(dst []byte) ([]byte, error) {
	by, err := json.Marshal(&a.By)
	if err != nil {
		return dst, fmt.Errorf("encoding an attribution: %w", err)
	}
	dst, at := beginOp(dst, Attributed)
	dst = binary.AppendUvarint(dst, uint64(len(by)))
	return endOp(append(append(dst, by...), a.Op...), at), nil
}

// Decode reads the body of an Attributed and the frame of the operation in it, which is one of the control
// group and not itself attributed.
func (a *AttributedOp) Decode(body []byte) (inner Op, err error) {
	r := reader{rest: body}
	by := r.take(int(min(r.uvarint(), uint64(len(body)))))
	if r.bad {
		return Op{}, ErrMalformed
	}
	a.By = Attribution{}
	if err := DecodeControl(by, &a.By); err != nil {
		return Op{}, err
	}
	a.Op = r.rest
	if inner, err = innerOp(a.Op); err != nil {
		return Op{}, err
	}
	if inner.Kind < AttributesDeclared || inner.Kind == Attributed {
		return Op{}, ErrMalformed
	}
	return inner, nil
}

// innerOp reads the frame of the one operation that framed holds.
func innerOp(framed []byte) (Op, error) {
	if len(framed) < opHeadBytes || int64(binary.LittleEndian.Uint32(framed[2:])) != int64(len(framed)-opHeadBytes) {
		return Op{}, ErrMalformed
	}
	return Op{Kind: Kind(framed[0]), Version: framed[1], Body: framed[opHeadBytes:]}, nil
}

// CreateKey adds an API key.
type CreateKey struct {
	Key auth.Key `json:"key"`
	// Founding demands that there never was a key before.
	Founding bool `json:"founding,omitempty"`
}

// RevokeKey removes an API key.
type RevokeKey struct {
	ID string `json:"id"`
}

// Append appends the operation to dst.
func (o *CreateKey) Append(dst []byte) ([]byte, error) { return appendControl(dst, KeyCreated, o) }

// Append appends the operation to dst.
func (o *RevokeKey) Append(dst []byte) ([]byte, error) { return appendControl(dst, KeyRevoked, o) }
