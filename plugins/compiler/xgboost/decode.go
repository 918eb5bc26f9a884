package xgboost

import (
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// maxNesting bounds how deep values may nest in a model file.
const maxNesting = 32

// kind tells what comes next in a file.
type kind uint8

const (
	kindScalar kind = iota // number, literal, or nothing that is known
	kindObject
	kindArray
	kindString
)

// decoder walks a file without building a tree, so that memory stays proportional to what is kept. The
// first mistake sticks: later calls do nothing and return zeros. JSON and UBJSON implement it.
type decoder interface {
	// object calls field for each key; field must consume the value.
	object(field func(key string))
	// array calls item for each element; item must consume it.
	array(item func())
	next() kind
	str() string
	// integer reads a whole number; true and false count as 1 and 0.
	integer() int64
	// float reads a number as the nearest 32-bit float, as XGBoost does.
	float() float32
	skip()
	// end fails when something but white space follows.
	end()
	// stop records the first mistake.
	stop(err error)
	mistake() error
}

// position is what both decoders know of where they are.
type position struct {
	file  []byte
	at    int
	depth int
	err   error
}

// fail records the first mistake. reason says what is wrong and never quotes the file.
func (p *position) fail(reason string) {
	p.stop(ir.Invalid("the model file is malformed at byte %d: %s; %s", p.at, reason, remedy))
}

func (p *position) stop(err error) {
	if p.err == nil {
		p.err = err
	}
	p.at = len(p.file)
}

func (p *position) mistake() error { return p.err }

// enter counts a level of nesting; leave must follow when it is true.
func (p *position) enter() bool {
	if p.depth++; p.depth > maxNesting {
		p.fail("values nest too deeply")
		return false
	}
	return true
}

func (p *position) leave() { p.depth-- }

// maxArray bounds the numbers of one array.
const maxArray = 1 << 23

// grown tells whether an array of n numbers may have one more, and fails when not.
func grown(d decoder, n int) bool {
	if n >= maxArray {
		d.stop(ir.Invalid("the model file has a list of more than %d numbers; train fewer or shallower trees", maxArray))
		return false
	}
	return true
}

// integers reads an array of whole numbers of 32 bits into dst, which it reuses.
func integers(d decoder, dst []int32) []int32 {
	dst = dst[:0]
	d.array(func() {
		i := d.integer()
		if int64(int32(i)) != i {
			d.stop(ir.Invalid("the model file has a whole number of more than 32 bits where none belongs; %s", remedy))
			return
		}
		if grown(d, len(dst)) {
			dst = append(dst, int32(i))
		}
	})
	return dst
}

// floats reads an array of numbers into dst, which it reuses.
func floats(d decoder, dst []float32) []float32 {
	dst = dst[:0]
	d.array(func() {
		if f := d.float(); grown(d, len(dst)) {
			dst = append(dst, f)
		}
	})
	return dst
}

// maxTexts bounds what texts and names keep.
const maxTexts = 1 << 16

// texts reads an object and keeps those of its values that are strings.
func texts(d decoder) map[string]string {
	out := map[string]string{}
	d.object(func(key string) {
		if d.next() != kindString || len(out) >= maxTexts {
			d.skip()
			return
		}
		out[key] = d.str()
	})
	return out
}

// names reads an array of strings.
func names(d decoder) []string {
	var out []string
	d.array(func() {
		if out = append(out, d.str()); len(out) > maxTexts {
			d.stop(ir.Invalid("the model file names more than %d features; select features before training", maxTexts))
		}
	})
	return out
}
