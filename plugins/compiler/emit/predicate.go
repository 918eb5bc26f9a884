package emit

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// maxCategoryTable bounds the table of the answers of one feature's predicates; beyond it each set is
// asked for itself.
const maxCategoryTable = 4 << 20

// predicateCode writes what answers the predicates of a part, into one byte each: 1 for the high child.
// It returns the fuel that the instructions do not tell, as they run several times.
//
// Sets are answered from a table with a row for each category and for the other kinds of values; a row
// is copied to the lane. Equalities are asked one by one.
func (o *forest) predicateCode(x *expansion) (int64, error) {
	byFeature := map[int32][]int{}
	var features []int32
	var single []int
	for i := range o.predicates {
		s := &o.predicates[i]
		if f := int(s.Feature); f < x.p.first || f >= x.p.first+x.p.count {
			continue
		}
		if s.Compare == ir.EQ {
			single = append(single, i)
			continue
		}
		if byFeature[s.Feature] == nil {
			features = append(features, s.Feature)
		}
		byFeature[s.Feature] = append(byFeature[s.Feature], i)
	}
	slices.Sort(features)
	extra := int64(0)
	for _, feature := range features {
		which := byFeature[feature]
		categories := 0
		for _, i := range which {
			if set := o.sets[o.predicates[i].Set]; len(set) > 0 {
				categories = max(categories, int(set[len(set)-1])+1)
			}
		}
		if categories*len(which) > maxCategoryTable {
			return 0, ir.Invalid("the splits on feature %d need a table of %d bytes; train with fewer categories", feature, categories*len(which))
		}
		extra += o.categoryRow(x, feature, which, categories)
	}
	if len(single) > 0 {
		extra += o.equalities(x, single)
	}
	return extra, nil
}

// The rows of a category table beyond those of the categories.
const (
	rowOther    = iota // in no set
	rowMissing         // NaN
	rowZero            // 0 to ZeroThreshold
	rowNegative        // -ZeroThreshold to below 0
	extraRows
)

// categoryRow writes the copy of the row of a feature's value; the bytes of its predicates lie side by
// side.
func (o *forest) categoryRow(x *expansion, feature int32, which []int, categories int) int64 {
	n := len(which)
	width := (n + 7) &^ 7
	table := make([]byte, (categories+extraRows)*width)
	answer := func(row int, value float64) {
		for k, i := range which {
			if !o.predicates[i].Left(value, o.sets, o.negative) {
				table[row*width+k] = 1
			}
		}
	}
	for c := range categories {
		answer(c, float64(c)+0.5)
	}
	answer(categories+rowOther, -5)
	answer(categories+rowMissing, math.NaN())
	answer(categories+rowZero, 0)
	answer(categories+rowNegative, -math.SmallestNonzeroFloat32)
	at := o.g.b.Reserve(len(table), 16)
	o.g.b.Data(at, table)
	f := x.f
	value, row := f.Local(wasmbin.F64), f.Local(wasmbin.I32)
	f.Get(x.source).Memory(opF64Load, 3, 8*(int(feature)-x.p.first))
	if o.row == ir.F32 {
		f.Op(opF32Demote).Op(opF64Promote)
	}
	f.Set(value)
	// row = NaN ? missing : |x| <= zero ? (x < 0 ? negative : zero) : member ? trunc(x) : other
	low := 0.0
	if o.negative {
		low = -1
	}
	f.Get(value).TruncateToI64().Op(opWrapI64)
	f.I32(categories + rowOther)
	f.Get(value).F64(low)
	if o.negative {
		f.Op(opF64Gt)
	} else {
		f.Op(0x66) // f64.ge
	}
	f.Get(value).F64(float64(categories)).Op(opF64Lt).Op(opI32And).Select().Set(row)
	f.I32(categories + rowNegative).I32(categories + rowZero).Get(value).F64(0).Op(opF64Lt).Select()
	f.Get(row).Get(value).Op(opF64Abs).F64(ir.ZeroThreshold).Op(opF64Le).Select().Set(row)
	f.I32(categories + rowMissing).Get(row).Get(value).Get(value).Op(opF64Ne).Select().Set(row)
	f.Get(x.lane).I32(o.byteOf[which[0]]).Op(opI32Add)
	f.Get(row).I32(width).Op(opI32Mul).I32(at).Op(opI32Add).I32(n).MemoryCopy()
	return int64(n/8 + 32)
}

// equalityBytes is the size of an entry of the list of equalities.
const equalityBytes = 32

// equalities writes a loop over a list of value, offset of the feature, offset of the byte, and answers
// for NaN and for values near 0: 0 and 1 as they are, 2 for comparing.
func (o *forest) equalities(x *expansion, which []int) int64 {
	list := make([]byte, 0, equalityBytes*len(which))
	for _, i := range which {
		s := &o.predicates[i]
		nan, zero := uint32(1), uint32(2)
		if s.Left(math.NaN(), nil, false) {
			nan = 0
		}
		if s.Missing == ir.MissingZero {
			zero = nan
		}
		list = binary.LittleEndian.AppendUint64(list, math.Float64bits(s.Value))
		for _, v := range [...]uint32{uint32(8 * (int(s.Feature) - x.p.first)), uint32(o.byteOf[i]), nan, zero, 0, 0} {
			list = binary.LittleEndian.AppendUint32(list, v)
		}
	}
	at := o.g.b.Reserve(len(list), 16)
	o.g.b.Data(at, list)
	f := x.f
	value, entry, answer := f.Local(wasmbin.F64), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	f.I32(at).Set(entry)
	before := f.Fuel()
	f.Loop()
	f.Get(x.source).Get(entry).Memory(opI32Load, 2, 8).Op(opI32Add).Memory(opF64Load, 3, 0)
	if o.row == ir.F32 {
		f.Op(opF32Demote).Op(opF64Promote)
	}
	f.Set(value)
	f.Get(value).Get(entry).Memory(opF64Load, 3, 0).Op(opF64Ne).Set(answer)
	// Near 0, where the entry says so.
	f.Get(entry).Memory(opI32Load, 2, 20).Get(answer)
	f.Get(value).Op(opF64Abs).F64(ir.ZeroThreshold).Op(opF64Le).Get(entry).Memory(opI32Load, 2, 20).I32(2).Op(opI32Ne).Op(opI32And).Select().Set(answer)
	f.Get(entry).Memory(opI32Load, 2, 16).Get(answer).Get(value).Get(value).Op(opF64Ne).Select().Set(answer)
	f.Get(x.lane).Get(entry).Memory(opI32Load, 2, 12).Op(opI32Add).Get(answer).Memory(opStore8, 0, 0)
	f.Get(entry).I32(equalityBytes).Op(opI32Add).Tee(entry).I32(at + len(list)).Op(opI32Ne).BrIf(0).End()
	return (f.Fuel() - before) * int64(len(which))
}
