// Package onnx reads ONNX models into the compiler's intermediate form.
//
// It reads the operators that scikit-learn pipelines export through skl2onnx: encoders, scalers and
// imputers, linear models, trees, small neural networks, and the arithmetic between them. A model is
// taken as a function of one row: dimensions that are not fixed count as 1. What it computes is what
// the ONNX operator definitions say, in the width of the tensors; where they leave the order of a sum
// open it is that of the columns. Only what the score needs is read: the label, and what only the
// label needs, is left out.
//
// Everything it does not know is refused with the name of the node and of its operator. The protocol
// buffers are read by hand, from onnx.proto3 of the ONNX repository, with a limit on everything.
package onnx

import (
	"bytes"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Format is what the models say about where they come from.
const Format = "onnx"

// The limits of a model file.
const (
	maxModelBytes   = 64 << 20
	maxGraphNodes   = 4096
	maxTensors      = 8192
	maxElements     = 24_000_000 // of all tensors and attributes together
	maxRank         = 8
	maxTensorValues = 4_000_000
	maxCategories   = 65_536 // of all columns of text
	maxClasses      = ir.MaxOutputs
	maxGroups       = 1024       // rows of one tensor that are reduced one by one
	maxMoved        = 32_000_000 // elements that are moved while reading
)

// remedy is what to do about most models that cannot be read.
const remedy = `export the fitted pipeline with skl2onnx.to_onnx(pipeline, X[:1], target_opset={"": 15, "ai.onnx.ml": 3})`

// Detect tells whether file looks like an ONNX model: a protocol buffer that begins with the version
// of the format, as every exporter writes it.
func Detect(file []byte) bool {
	// Field 1, a varint, is ir_version; then comes opset_import, producer_name or graph.
	return len(file) > 3 && file[0] == 0x08 && file[1] > 0 && file[1] < 0x20 &&
		bytes.IndexByte([]byte{0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42}, file[2]) >= 0
}

// Read reads a model file. Errors are *nba.Error with CodeModelInvalid or CodeTooLarge.
func Read(file []byte) (*ir.Model, error) { return read(file, oneRow) }

// batch is what to do with inputs whose first dimension is fixed to several rows, and with outputs.
type batch int

const (
	oneRow   batch = iota // take them for one row, with a warning
	anything              // likewise, and an only output need be no score
	wholeSet              // all rows are one row of the model, and an only output need be no score
)

// read is Read for any batch.
func read(file []byte, rows batch) (*ir.Model, error) {
	if len(file) > maxModelBytes {
		return nil, nba.Errorf(nba.CodeTooLarge, "the model file has more than %d bytes; train a smaller model", maxModelBytes)
	}
	f, err := decode(file)
	if err != nil {
		return nil, err
	}
	b, err := newBuilder(f, rows)
	if err != nil {
		return nil, err
	}
	m, err := b.model()
	if err != nil {
		return nil, err
	}
	// The sizes of the steps are checked first: simplify relies on them.
	if err := m.Validate(); err != nil {
		return nil, err
	}
	simplify(m)
	return m, nil
}
