package onnx

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// The functions below write the protocol buffers of small models.

func bytesField(dst []byte, number protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, number, protowire.BytesType), b)
}

func varintField(dst []byte, number protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), uint64(v))
}

// attr writes an AttributeProto by the type of its value.
func attr(name string, value any) []byte {
	b := bytesField(nil, 1, []byte(name))
	switch v := value.(type) {
	case int:
		return varintField(b, 3, int64(v))
	case float64:
		return protowire.AppendFixed32(protowire.AppendTag(b, 2, protowire.Fixed32Type), math.Float32bits(float32(v)))
	case string:
		return bytesField(b, 4, []byte(v))
	case []int:
		for _, i := range v {
			b = varintField(b, 8, int64(i))
		}
	case []float64:
		for _, f := range v {
			b = protowire.AppendFixed32(protowire.AppendTag(b, 7, protowire.Fixed32Type), math.Float32bits(float32(f)))
		}
	case []string:
		for _, s := range v {
			b = bytesField(b, 9, []byte(s))
		}
	case []byte: // a tensor
		return bytesField(b, 5, v)
	}
	return b
}

// op writes a NodeProto of ai.onnx.ml, or of ai.onnx when the name begins with a dot.
func op(name string, in, out []string, attributes ...[]byte) []byte {
	domain := "ai.onnx.ml"
	if name[0] == '.' {
		domain, name = "", name[1:]
	}
	var b []byte
	for _, s := range in {
		b = bytesField(b, 1, []byte(s))
	}
	for _, s := range out {
		b = bytesField(b, 2, []byte(s))
	}
	b = bytesField(b, 3, []byte("the "+name))
	b = bytesField(b, 4, []byte(name))
	for _, a := range attributes {
		b = bytesField(b, 5, a)
	}
	return bytesField(b, 7, []byte(domain))
}

// tensorOf writes a TensorProto of 32-bit floats, or with ints of whole numbers.
func tensorOf(name string, dims []int, floats []float64, ints []int) []byte {
	var b []byte
	for _, d := range dims {
		b = varintField(b, 1, int64(d))
	}
	kind := elemFloat
	if floats == nil {
		kind = elemInt64
	}
	b = varintField(b, 2, int64(kind))
	for _, f := range floats {
		b = protowire.AppendFixed32(protowire.AppendTag(b, 4, protowire.Fixed32Type), math.Float32bits(float32(f)))
	}
	for _, i := range ints {
		b = varintField(b, 7, int64(i))
	}
	return bytesField(b, 8, []byte(name))
}

// tensorInfo writes a ValueInfoProto; a dimension of -1 is open.
func tensorInfo(name string, kind elem, dims ...int) []byte {
	var shape []byte
	for _, d := range dims {
		dim := bytesField(nil, 2, []byte("N"))
		if d >= 0 {
			dim = varintField(nil, 1, int64(d))
		}
		shape = bytesField(shape, 1, dim)
	}
	tensor := bytesField(varintField(nil, 1, int64(kind)), 2, shape)
	return bytesField(bytesField(nil, 1, []byte(name)), 2, bytesField(nil, 1, tensor))
}

// parts are those of a model; nil ones are the usual: an input X of two floats, an output Y.
type parts struct {
	nodes        [][]byte
	initializers [][]byte
	inputs       [][]byte
	outputs      [][]byte
	opset, ml    int64
	metadata     map[string]string
}

func (p parts) model() []byte {
	if p.inputs == nil {
		p.inputs = [][]byte{tensorInfo("X", elemFloat, -1, 2)}
	}
	if p.outputs == nil {
		p.outputs = [][]byte{tensorInfo("Y", elemFloat, -1, 1)}
	}
	if p.opset == 0 {
		p.opset = 15
	}
	if p.ml == 0 {
		p.ml = 3
	}
	var graph []byte
	for number, list := range map[protowire.Number][][]byte{1: p.nodes, 5: p.initializers, 11: p.inputs, 12: p.outputs} {
		for _, b := range list {
			graph = bytesField(graph, number, b)
		}
	}
	b := varintField(nil, 1, 8)
	b = bytesField(b, 2, []byte("test"))
	b = bytesField(b, 7, graph)
	b = bytesField(b, 8, varintField(bytesField(nil, 1, nil), 2, p.opset))
	for key, value := range p.metadata {
		b = bytesField(b, 14, bytesField(bytesField(nil, 1, []byte(key)), 2, []byte(value)))
	}
	return bytesField(b, 8, varintField(bytesField(nil, 1, []byte("ai.onnx.ml")), 2, p.ml))
}

// stump is the attributes of trees with one split each, whose leaves weigh -1 and 1.
func stump(over map[string]any) [][]byte {
	all := map[string]any{
		"nodes_treeids": []int{0, 0, 0}, "nodes_nodeids": []int{0, 1, 2}, "nodes_featureids": []int{1, 0, 0},
		"nodes_modes": []string{"BRANCH_LEQ", "LEAF", "LEAF"}, "nodes_values": []float64{.5, 0, 0},
		"nodes_truenodeids": []int{1, 0, 0}, "nodes_falsenodeids": []int{2, 0, 0},
		"class_treeids": []int{0, 0}, "class_nodeids": []int{1, 2}, "class_ids": []int{0, 0}, "class_weights": []float64{-1, 1},
		"classlabels_int64s": []int{0, 1}, "post_transform": "LOGISTIC",
	}
	for name, value := range over {
		all[name] = value
	}
	var out [][]byte
	for name, value := range all {
		out = append(out, attr(name, value))
	}
	return out
}
