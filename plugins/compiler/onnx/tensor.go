package onnx

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// elem is the type of a tensor's elements, as TensorProto.DataType numbers them.
type elem int32

// The types that are read.
const (
	elemFloat  elem = 1
	elemUint8  elem = 2
	elemInt8   elem = 3
	elemUint16 elem = 4
	elemInt16  elem = 5
	elemInt32  elem = 6
	elemInt64  elem = 7
	elemText   elem = 8
	elemBool   elem = 9
	elemDouble elem = 11
	elemUint32 elem = 12
)

func (e elem) integer() bool {
	switch e {
	case elemUint8, elemInt8, elemUint16, elemInt16, elemInt32, elemInt64, elemUint32:
		return true
	}
	return false
}

func (e elem) known() bool {
	return e == elemFloat || e == elemDouble || e == elemText || e == elemBool || e.integer()
}

// literal is a constant tensor, in row-major order.
type literal struct {
	elem  elem
	dims  []int
	nums  []float64
	texts []string
}

func (l *literal) size() int {
	if l.elem == elemText {
		return len(l.texts)
	}
	return len(l.nums)
}

// product is the number of elements of a tensor, or false when that is too many.
func product(dims []int) (int, bool) {
	n := 1
	for _, d := range dims {
		if d < 0 || d > 0 && n > maxTensorValues/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// tensor reads a TensorProto.
func (d *decoder) tensor(b []byte) (name string, t *literal) {
	t = &literal{}
	var dims, ints []int64
	var raw []byte
	hasRaw := false
	d.message(b, func(f field) {
		switch f.number {
		case 1:
			dims = d.integers(dims, f)
		case 2:
			t.elem = elem(d.integer(f))
		case 4:
			t.nums = d.floats(t.nums, f)
		case 5, 7, 11:
			ints = d.integers(ints, f)
		case 6:
			d.count(2)
			t.texts = append(t.texts, d.text(f))
		case 8:
			name = d.text(f)
		case 9:
			raw, hasRaw = f.b, f.kind == protowire.BytesType
		case 10:
			t.nums = d.doubles(t.nums, f)
		case 13:
			d.fail("it keeps constants in other files; save it with onnx.save(model, path, save_as_external_data=False)")
		}
	})
	if d.err != nil {
		return name, t
	}
	if len(dims) > maxRank {
		d.fail("a constant has too many dimensions")
		return name, t
	}
	for _, n := range dims {
		if n < 0 || n > maxTensorValues {
			d.fail("a constant has an impossible dimension")
			return name, t
		}
		t.dims = append(t.dims, int(n))
	}
	if hasRaw {
		d.raw(t, raw)
	}
	for _, v := range ints {
		t.nums = append(t.nums, float64(v))
	}
	if n, ok := product(t.dims); d.err == nil && t.elem.known() && (!ok || n != t.size()) {
		d.fail("a constant does not have as many values as its dimensions say")
	}
	return name, t
}

// raw reads the little-endian form of a constant. Constants of types that no operator here takes are
// left empty: they are refused where they are used.
func (d *decoder) raw(t *literal, b []byte) {
	width := map[elem]int{elemFloat: 4, elemDouble: 8, elemInt64: 8, elemInt32: 4, elemUint32: 4,
		elemInt16: 2, elemUint16: 2, elemInt8: 1, elemUint8: 1, elemBool: 1}[t.elem]
	if width == 0 {
		return
	}
	if len(b)%width != 0 || !d.count(len(b)/width) {
		d.fail("a constant is cut short")
		return
	}
	for ; len(b) > 0; b = b[width:] {
		v := 0.0
		switch t.elem {
		case elemFloat:
			v = float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		case elemDouble:
			v = math.Float64frombits(binary.LittleEndian.Uint64(b))
		case elemInt64:
			v = float64(int64(binary.LittleEndian.Uint64(b)))
		case elemInt32:
			v = float64(int32(binary.LittleEndian.Uint32(b)))
		case elemUint32:
			v = float64(binary.LittleEndian.Uint32(b))
		case elemInt16:
			v = float64(int16(binary.LittleEndian.Uint16(b)))
		case elemUint16:
			v = float64(binary.LittleEndian.Uint16(b))
		case elemInt8:
			v = float64(int8(b[0]))
		default:
			v = float64(b[0])
		}
		t.nums = append(t.nums, v)
	}
}
