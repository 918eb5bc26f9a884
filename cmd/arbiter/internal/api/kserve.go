package api

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The Open Inference Protocol (KServe v2), to try a model: https://github.com/kserve/open-inference-protocol.
// Its errors are {"error": "..."}.

const (
	kservePrefix    = "/v2"
	kserveOutput    = "score"
	kserveMatrix    = "features"
	headerInferJSON = "Inference-Header-Content-Length"

	contentTypeOctets = "application/octet-stream"

	// maxInferRows bounds the rows of one request, maxInferValues the numbers in them.
	maxInferRows   = 1024
	maxInferValues = 1 << 20
)

func kserveLive(context.Context, Core, *request) (reply, error) {
	return jsonReply(http.StatusOK, map[string]bool{"live": true})
}

// kserveServer tells what the server is.
func kserveServer(version string) handler {
	return func(context.Context, Core, *request) (reply, error) {
		return jsonReply(http.StatusOK, map[string]any{"name": "arbiter", "version": version, "extensions": []string{"binary_tensor_data"}})
	}
}

// tensorMetadata describes an input or output. A dimension of -1 is any number of rows.
type tensorMetadata struct {
	Name     string  `json:"name"`
	Datatype string  `json:"datatype"`
	Shape    []int64 `json:"shape"`
}

// modelOf reads the model and the version of the path; no version is the active one.
func modelOf(in *request) (name, version string, err error) {
	if name, err = in.param("model"); err != nil {
		return "", "", err
	}
	version, err = in.param("version")
	return name, version, err
}

func kserveModel(ctx context.Context, core Core, in *request) (reply, error) {
	name, version, err := modelOf(in)
	if err != nil {
		return reply{}, err
	}
	m, err := core.Model(ctx, name, version)
	if err != nil {
		return reply{}, err
	}
	inputs := make([]tensorMetadata, len(m.Features))
	for i, feature := range m.Features {
		inputs[i] = tensorMetadata{Name: feature, Datatype: "FP64", Shape: []int64{-1}}
	}
	platform := "arbiter_wasm"
	if m.Adapter != "" {
		platform += "_" + strings.ReplaceAll(m.Adapter, "-", "_")
	}
	if m.Versions == nil {
		m.Versions = []string{}
	}
	return jsonReply(http.StatusOK, map[string]any{
		"name": m.Name, "versions": m.Versions, "platform": platform, "inputs": inputs,
		"outputs":    []tensorMetadata{{Name: kserveOutput, Datatype: "FP64", Shape: []int64{-1}}},
		"parameters": map[string]string{"version": m.Version, "digest": m.Digest, "output": m.Output},
	})
}

func kserveModelReady(ctx context.Context, core Core, in *request) (reply, error) {
	name, version, err := modelOf(in)
	if err != nil {
		return reply{}, err
	}
	m, err := core.Model(ctx, name, version)
	if err == nil && !m.Ready {
		err = nba.Errorf(nba.CodeUnavailable, "version %s of %s is not loaded on this node", m.Version, m.Name)
	}
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, map[string]any{"name": m.Name, "ready": true})
}

// inferRequest is the JSON of a request for scores.
type inferRequest struct {
	ID         string         `json:"id"`
	Parameters map[string]any `json:"parameters"`
	Inputs     []inferTensor  `json:"inputs"`
	Outputs    []struct {
		Name       string         `json:"name"`
		Parameters map[string]any `json:"parameters"`
	} `json:"outputs"`
}

// inferTensor is one input; its values are in Data, or behind the JSON.
type inferTensor struct {
	Name       string  `json:"name"`
	Datatype   string  `json:"datatype"`
	Shape      []int64 `json:"shape"`
	Parameters struct {
		BinarySize *int `json:"binary_data_size"`
	} `json:"parameters"`
	Data json.RawMessage `json:"data"`

	values []float64
}

func kserveInfer(ctx context.Context, core Core, in *request) (reply, error) {
	name, version, err := modelOf(in)
	if err != nil {
		return reply{}, err
	}
	m, err := core.Model(ctx, name, version)
	if err != nil {
		return reply{}, err
	}
	req, err := readInfer(in)
	if err != nil {
		return reply{}, err
	}
	rows, err := rowsOf(req.Inputs, m.Features)
	if err != nil {
		return reply{}, err
	}
	for _, output := range req.Outputs {
		if output.Name != kserveOutput {
			return reply{}, nba.Errorf(nba.CodeInvalid, "the model has one output, %s", kserveOutput)
		}
	}
	scored, err := core.Infer(ctx, name, version, rows)
	if err != nil {
		return reply{}, err
	}
	data := make([]*float64, len(scored.Scores))
	for i := range data {
		if !math.IsNaN(scored.Scores[i]) {
			data[i] = &scored.Scores[i]
		}
	}
	answer := map[string]any{"model_name": scored.Name, "model_version": scored.Version, "outputs": []map[string]any{{
		"name": kserveOutput, "datatype": "FP64", "shape": []int{len(data)}, "data": data}}}
	if req.ID != "" {
		answer["id"] = req.ID
	}
	return jsonReply(http.StatusOK, answer)
}

// readInfer reads the JSON of a body and the tensors behind it.
func readInfer(in *request) (*inferRequest, error) {
	text, tensors := in.body, []byte(nil)
	if header := in.header(headerInferJSON); header != "" {
		n, err := strconv.Atoi(header)
		if err != nil || n < 0 || n > len(in.body) {
			return nil, nba.Errorf(nba.CodeMalformed, "%s must be the number of bytes of the JSON at the begin of the body", headerInferJSON)
		}
		text, tensors = in.body[:n], in.body[n:]
	}
	req := &inferRequest{}
	if err := json.Unmarshal(text, req); err != nil {
		return nil, featuresError(err)
	}
	if len(req.ID) > nba.MaxTextBytes {
		return nil, nba.Errorf(nba.CodeInvalid, "the id is longer than %d bytes", nba.MaxTextBytes)
	}
	total := 0
	for i := range req.Inputs {
		t := &req.Inputs[i]
		size, err := t.size(i)
		if err != nil {
			return nil, err
		}
		if total += size; total > maxInferValues {
			return nil, nba.Errorf(nba.CodeTooLarge, "one request holds at most %d values", maxInferValues)
		}
		if tensors, err = t.read(i, size, tensors); err != nil {
			return nil, err
		}
	}
	if len(tensors) > 0 {
		return nil, nba.Errorf(nba.CodeMalformed, "%d bytes follow the last tensor", len(tensors))
	}
	return req, nil
}

// size is the number of values that the shape of input i asks for.
func (t *inferTensor) size(i int) (int, error) {
	if len(t.Shape) == 0 || len(t.Shape) > 2 {
		return 0, nba.Errorf(nba.CodeInvalid, "input %d has a shape of %d dimensions: one for the rows, and a second of 1 or of the features", i, len(t.Shape))
	}
	size := int64(1)
	for _, n := range t.Shape {
		if n < 0 || n > maxInferValues {
			return 0, nba.Errorf(nba.CodeInvalid, "input %d has a dimension that is negative or too large", i)
		}
		size *= n
	}
	if size > maxInferValues {
		return 0, nba.Errorf(nba.CodeTooLarge, "one request holds at most %d values", maxInferValues)
	}
	return int(size), nil
}

// read fills the values of input i, from JSON or from the front of tensors, and returns what follows.
func (t *inferTensor) read(i, size int, tensors []byte) (rest []byte, err error) {
	if t.Parameters.BinarySize != nil {
		n := *t.Parameters.BinarySize
		if n < 0 || n > len(tensors) || len(t.Data) > 0 {
			return nil, nba.Errorf(nba.CodeMalformed, "input %d has a binary_data_size that is not in the body, or data too", i)
		}
		t.values, err = binaryValues(t.Datatype, tensors[:n])
		rest = tensors[n:]
	} else {
		t.values, err = jsonValues(t.Datatype, t.Data)
		rest = tensors
	}
	if err != nil {
		return nil, nba.Errorf(nba.CodeInvalid, "input %d: %w", i, err)
	}
	if len(t.values) != size {
		return nil, nba.Errorf(nba.CodeInvalid, "input %d has %d values, its shape asks for %d", i, len(t.values), size)
	}
	return rest, nil
}

// rowsOf makes rows of features, in the order of the model, of its inputs: one tensor for each feature, by
// name, or one matrix of all. A feature that is not there is missing.
func rowsOf(inputs []inferTensor, features []string) ([][]float64, error) {
	if len(inputs) == 0 {
		return nil, nba.Errorf(nba.CodeInvalid, "the request has no inputs: give a tensor for each feature, or one named %s with a row of all", kserveMatrix)
	}
	count := inputs[0].Shape[0]
	if count < 1 || count > maxInferRows {
		return nil, nba.Errorf(nba.CodeTooLarge, "one request scores 1 to %d rows", maxInferRows)
	}
	rows, width := make([][]float64, count), len(features)
	cells := make([]float64, int(count)*width)
	for i := range cells {
		cells[i] = math.NaN()
	}
	for i := range rows {
		rows[i] = cells[i*width : (i+1)*width]
	}
	position := make(map[string]int, width)
	for i, feature := range features {
		position[feature] = i
	}
	given := map[string]bool{}
	for i := range inputs {
		t := &inputs[i]
		if t.Shape[0] != count {
			return nil, nba.Errorf(nba.CodeInvalid, "input %d has %d rows, the first input has %d", i, t.Shape[0], count)
		}
		if given[t.Name] {
			return nil, nba.Errorf(nba.CodeInvalid, "input %d has the name of another", i)
		}
		given[t.Name] = true
		at, isFeature := position[t.Name]
		switch {
		case isFeature && (len(t.Shape) == 1 || t.Shape[1] == 1):
			for r := range rows {
				rows[r][at] = t.values[r]
			}
		case len(inputs) == 1 && len(t.Shape) == 2 && int(t.Shape[1]) == width:
			copy(cells, t.values)
		case isFeature:
			return nil, nba.Errorf(nba.CodeInvalid, "input %d is a feature: its shape is [rows] or [rows, 1]", i)
		case len(inputs) == 1:
			return nil, nba.Errorf(nba.CodeInvalid, "input %d is no feature, and no matrix of [rows, %d]: GET the model to see its inputs", i, width)
		default:
			return nil, nba.Errorf(nba.CodeInvalid, "input %d is no feature of the model%s", i, nearestFeature(t.Name, features))
		}
	}
	return rows, nil
}

func nearestFeature(name string, features []string) string {
	if near := nba.Nearest(name, features); near != "" {
		return ": did you mean " + near + "?"
	}
	return ": GET the model to see its inputs"
}

// kserveProblem is a problem in the words of the protocol.
func kserveProblem(p *Problem) reply {
	text := p.Detail
	for _, d := range p.Errors {
		text += fmt.Sprintf("; %s %s", d.Pointer, d.Detail)
	}
	out, err := jsonReply(p.Status, map[string]string{"error": text})
	if err != nil {
		panic(err) // a bug of ours: text can be JSON
	}
	return out
}
