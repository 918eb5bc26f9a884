package onnx

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// file is what is kept of a ModelProto.
type file struct {
	producer, version string
	opsets            map[string]int64 // by domain; "" is ai.onnx
	graph             graph
	hasGraph          bool
	metadata          map[string]string
	functions         bool
}

// graph is a GraphProto.
type graph struct {
	nodes           []*node
	initializers    map[string]*literal
	inputs, outputs []info
}

// node is a NodeProto.
type node struct {
	name, op, domain string
	inputs, outputs  []string
	attributes       map[string]*attribute
}

// attribute is an AttributeProto. Which fields are set depends on its type.
type attribute struct {
	f       float64
	i       int64
	s       string
	t       *literal
	floats  []float64
	ints    []int64
	strings []string
	hasF    bool
	graph   bool // a graph, sparse tensor or reference, which no operator here takes
}

// info is a ValueInfoProto. Dimensions that are not fixed are -1.
type info struct {
	name   string
	elem   elem
	dims   []int
	tensor bool
	shaped bool
}

func decode(b []byte) (*file, error) {
	f := &file{opsets: map[string]int64{}, metadata: map[string]string{}, graph: graph{initializers: map[string]*literal{}}}
	d := &decoder{}
	d.message(b, func(x field) {
		switch x.number {
		case 2:
			f.producer = d.text(x)
		case 3:
			f.version = d.text(x)
		case 7:
			f.hasGraph = true
			d.message(x.b, func(y field) { f.graph.field(d, y) })
		case 8:
			domain, version := "", int64(0)
			d.message(x.b, func(y field) {
				switch y.number {
				case 1:
					domain = d.text(y)
				case 2:
					version = d.integer(y)
				}
			})
			if domain == "ai.onnx" {
				domain = ""
			}
			f.opsets[domain] = max(f.opsets[domain], version)
		case 14:
			key, value := d.pair(x)
			f.metadata[key] = value
		case 25:
			f.functions = true
		}
	})
	if d.err != nil {
		return nil, d.err
	}
	if !f.hasGraph {
		return nil, ir.Invalid("the file has no ONNX graph; %s", remedy)
	}
	return f, nil
}

func (d *decoder) pair(f field) (key, value string) {
	d.message(f.b, func(x field) {
		switch x.number {
		case 1:
			key = d.text(x)
		case 2:
			value = d.text(x)
		}
	})
	return key, value
}

func (g *graph) field(d *decoder, f field) {
	switch f.number {
	case 1:
		if len(g.nodes) >= maxGraphNodes {
			d.err = ir.Invalid("the ONNX graph has more than %d nodes; simplify the pipeline", maxGraphNodes)
			return
		}
		g.nodes = append(g.nodes, d.node(f.b))
	case 5:
		if len(g.initializers) >= maxTensors {
			d.err = ir.Invalid("the ONNX graph has more than %d constants; simplify the pipeline", maxTensors)
			return
		}
		name, t := d.tensor(f.b)
		g.initializers[name] = t
	case 11:
		g.inputs = append(g.inputs, d.info(f.b))
	case 12:
		g.outputs = append(g.outputs, d.info(f.b))
	case 15:
		d.fail("it has sparse constants, which are not supported")
	}
	if len(g.inputs)+len(g.outputs) > ir.MaxInputs {
		d.fail("it has too many inputs")
	}
}

func (d *decoder) node(b []byte) *node {
	n := &node{attributes: map[string]*attribute{}}
	d.message(b, func(f field) {
		switch f.number {
		case 1:
			n.inputs = append(n.inputs, d.text(f))
			d.count(1)
		case 2:
			n.outputs = append(n.outputs, d.text(f))
			d.count(1)
		case 3:
			n.name = d.text(f)
		case 4:
			n.op = d.text(f)
		case 5:
			name, a := d.attribute(f.b)
			n.attributes[name] = a
			d.count(1)
		case 7:
			if n.domain = d.text(f); n.domain == "ai.onnx" {
				n.domain = ""
			}
		}
	})
	return n
}

func (d *decoder) attribute(b []byte) (name string, a *attribute) {
	a = &attribute{}
	d.message(b, func(f field) {
		switch f.number {
		case 1:
			name = d.text(f)
		case 2:
			if v := d.floats(nil, f); len(v) == 1 {
				a.f, a.hasF = v[0], true
			}
		case 3:
			a.i = d.integer(f)
		case 4:
			a.s = d.text(f)
		case 5:
			_, a.t = d.tensor(f.b)
		case 7:
			a.floats = d.floats(a.floats, f)
		case 8:
			a.ints = d.integers(a.ints, f)
		case 9:
			d.count(2)
			a.strings = append(a.strings, d.text(f))
		case 6, 10, 11, 14, 15, 21, 22, 23:
			a.graph = true
		}
	})
	return name, a
}

func (d *decoder) info(b []byte) (v info) {
	d.message(b, func(f field) {
		switch f.number {
		case 1:
			v.name = d.text(f)
		case 2:
			d.message(f.b, func(f field) {
				if f.number == 1 {
					v.tensor = true
					d.tensorType(&v, f.b)
				}
			})
		}
	})
	return v
}

func (d *decoder) tensorType(v *info, b []byte) {
	d.message(b, func(f field) {
		switch f.number {
		case 1:
			v.elem = elem(d.integer(f))
		case 2:
			v.shaped = true
			d.message(f.b, func(f field) {
				if f.number != 1 {
					return
				}
				size := -1
				d.message(f.b, func(f field) {
					if f.number == 1 && f.kind == protowire.VarintType && int64(f.n) >= 0 && f.n <= maxTensorValues {
						size = int(f.n)
					}
				})
				if v.dims = append(v.dims, size); len(v.dims) > maxRank {
					d.fail("a tensor has too many dimensions")
				}
			})
		}
	})
}
