package onnx

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// decoder reads protocol buffers; the first mistake sticks.
type decoder struct {
	elements int // of tensors and attributes so far
	err      error
}

// field is one field of a message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	n      uint64 // of varints and fixed numbers
	b      []byte // of what has a length
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = ir.Invalid("the ONNX file is damaged or no ONNX file: %s; %s", what, remedy)
	}
}

// message calls each for every field of b, in order.
func (d *decoder) message(b []byte, each func(f field)) {
	for len(b) > 0 && d.err == nil {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			d.fail("a field has no number")
			return
		}
		b = b[n:]
		f := field{number: number, kind: kind}
		switch kind {
		case protowire.VarintType:
			f.n, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			f.n = uint64(v)
		case protowire.Fixed64Type:
			f.n, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			f.b, n = protowire.ConsumeBytes(b)
		default:
			d.fail("a field is of an unknown kind")
			return
		}
		if n < 0 {
			d.fail("a field is cut short")
			return
		}
		b = b[n:]
		each(f)
	}
}

// count bounds how much a file may unfold to.
func (d *decoder) count(n int) bool {
	if d.elements += n; d.elements > maxElements && d.err == nil {
		d.err = ir.Invalid("the ONNX file holds more than %d numbers; train a smaller model", maxElements)
	}
	return d.err == nil
}

func (d *decoder) text(f field) string {
	if f.kind != protowire.BytesType || !utf8.Valid(f.b) {
		d.fail("a text is not UTF-8")
		return ""
	}
	return string(f.b)
}

func (d *decoder) integer(f field) int64 {
	if f.kind != protowire.VarintType {
		d.fail("a whole number is of another kind")
	}
	return int64(f.n)
}

// integers appends one number, or all of a packed field.
func (d *decoder) integers(dst []int64, f field) []int64 {
	if f.kind != protowire.BytesType {
		if !d.count(1) {
			return dst
		}
		return append(dst, d.integer(f))
	}
	for b := f.b; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			d.fail("a list of whole numbers is cut short")
			return dst
		}
		if !d.count(1) {
			return dst
		}
		dst, b = append(dst, int64(v)), b[n:]
	}
	return dst
}

// floats appends one number of 32 bits, or all of a packed field.
func (d *decoder) floats(dst []float64, f field) []float64 {
	switch {
	case f.kind == protowire.Fixed32Type && d.count(1):
		return append(dst, float64(math.Float32frombits(uint32(f.n))))
	case f.kind == protowire.BytesType && len(f.b)%4 == 0 && d.count(len(f.b)/4):
		for b := f.b; len(b) > 0; b = b[4:] {
			dst = append(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
		}
		return dst
	}
	d.fail("a list of numbers is of another kind or cut short")
	return dst
}

// doubles is floats for 64 bits.
func (d *decoder) doubles(dst []float64, f field) []float64 {
	switch {
	case f.kind == protowire.Fixed64Type && d.count(1):
		return append(dst, math.Float64frombits(f.n))
	case f.kind == protowire.BytesType && len(f.b)%8 == 0 && d.count(len(f.b)/8):
		for b := f.b; len(b) > 0; b = b[8:] {
			dst = append(dst, math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
		return dst
	}
	d.fail("a list of numbers is of another kind or cut short")
	return dst
}
