package onnx

import (
	"cmp"
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// mapping is what a LabelEncoder, of any version, or a CategoryMapper maps. Either keyTexts or keys is
// set; either valueTexts or values.
type mapping struct {
	keyTexts, valueTexts []string
	keys, values         []float64
	otherwise            float64
	elem                 elem // of the values
}

// readMapping reads the attributes of the versions 1, 2 and 4.
func (b *builder) readMapping(n *node, in *value) (*mapping, error) {
	m := &mapping{keyTexts: n.strings("keys_strings"), valueTexts: n.strings("values_strings"), elem: elemInt64}
	m.keys, m.values = wide(n.ints("keys_int64s")), wide(n.ints("values_int64s"))
	m.otherwise = float64(n.int("default_int64", -1))
	if v := n.floats("keys_floats"); len(v) > 0 {
		m.keys = v
	}
	if v := n.floats("values_floats"); len(v) > 0 {
		m.values, m.elem, m.otherwise = v, elemFloat, n.float("default_float", 0)
	}
	if a := n.attributes["keys_tensor"]; a != nil && a.t != nil {
		m.keys, m.keyTexts = a.t.nums, a.t.texts
	}
	if a := n.attributes["values_tensor"]; a != nil && a.t != nil {
		m.values, m.valueTexts, m.elem = a.t.nums, a.t.texts, a.t.elem
	}
	if a := n.attributes["default_tensor"]; a != nil && a.t != nil && len(a.t.nums) == 1 {
		m.otherwise = a.t.nums[0]
	}
	texts, ints := n.strings("classes_strings"), []float64(nil)
	for i := range texts {
		ints = append(ints, float64(i))
	}
	if n.op == "CategoryMapper" {
		texts, ints = n.strings("cats_strings"), wide(n.ints("cats_int64s"))
	}
	if len(texts) > 0 && in.elem == elemText {
		m.keyTexts, m.values = texts, ints
	} else if len(texts) > 0 {
		m.keys, m.valueTexts = ints, texts
	}
	if !m.elem.known() || len(m.keys)+len(m.keyTexts) == 0 || len(m.keys)+len(m.keyTexts) != len(m.values)+len(m.valueTexts) {
		return nil, b.errorf("its keys and values are missing or differ in number")
	}
	if (in.elem == elemText) != (len(m.keyTexts) > 0) {
		return nil, b.errorf("its keys are of another type than its input")
	}
	return m, nil
}

func labelEncoder(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 1); err != nil {
		return nil, err
	}
	v := in[0]
	m, err := b.readMapping(n, v)
	if err != nil {
		return nil, err
	}
	switch {
	case len(m.valueTexts) > 0 && v.constant() && v.elem != elemText:
		return one(m.texts(v, n.text("default_string", "_Unused")))
	case len(m.valueTexts) > 0:
		return []*value{{elem: elemText, dims: v.dims, opaque: "a text that is computed, which is not supported"}}, nil
	case v.size() == 0 || v.constant() && v.elem == elemText:
		return nil, b.errorf("it encodes a constant text or nothing, which is not supported")
	}
	out := computed(m.elem, v.dims, 0)
	if v.elem != elemText {
		out.ref = b.emit(lookup(b.ref(v), m.keys, m.values, m.otherwise))
		return one(out)
	}
	join := &ir.Concat{}
	for i, column := range v.columns {
		codes := make([]float64, len(m.keyTexts))
		for k, text := range m.keyTexts {
			if codes[k], err = b.code(column, text); err != nil {
				return nil, err
			}
		}
		from := v.ref
		if len(v.columns) > 1 {
			from = b.emit(&ir.Gather{In: v.ref, Columns: []int{i}})
		}
		join.Parts = append(join.Parts, b.emit(lookup(from, codes, m.values, m.otherwise)))
	}
	if out.ref = join.Parts[0]; len(join.Parts) > 1 {
		out.ref = b.emit(join)
	}
	return one(out)
}

// texts maps a constant of numbers.
func (m *mapping) texts(v *value, otherwise string) *value {
	out := &literal{elem: elemText, dims: v.dims}
	for _, x := range v.lit.nums {
		text := otherwise
		if i := slices.Index(m.keys, x); i >= 0 {
			text = m.valueTexts[i]
		}
		out.texts = append(out.texts, text)
	}
	return literalValue(out)
}

// lookup sorts keys; of equal ones the first counts. A key that is NaN is for missing values.
func lookup(in ir.Ref, keys, values []float64, otherwise float64) *ir.Lookup {
	s := &ir.Lookup{In: in, Default: otherwise, Missing: otherwise}
	order := make([]int, 0, len(keys))
	missing := false
	for i, k := range keys {
		if !math.IsNaN(k) {
			order = append(order, i)
		} else if !missing {
			s.Missing, missing = values[i], true
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(keys[i], keys[j]) })
	for _, i := range order {
		if n := len(s.Keys); n == 0 || s.Keys[n-1] != keys[i] {
			s.Keys, s.Values = append(s.Keys, keys[i]), append(s.Values, values[i])
		}
	}
	return s
}
