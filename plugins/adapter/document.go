package adapter

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// fields are the features of a manifest as members of JSON objects.
type fields struct {
	subject, candidate []field
}

// field is one member: its name with quotes and colon, and what its levels read, if it has any.
type field struct {
	key    []byte
	levels [][]byte
}

func newFields(m *artifact.Manifest) *fields {
	f := &fields{}
	subjects := m.SubjectFeatures()
	for i := range m.Features {
		member := field{key: append(quote(m.Features[i].Name), ':')}
		for _, level := range m.Features[i].Recipe.Levels {
			text := quote(level)
			if level == "true" || level == "false" {
				text = []byte(level)
			}
			member.levels = append(member.levels, text)
		}
		if i < subjects {
			f.subject = append(f.subject, member)
		} else {
			f.candidate = append(f.candidate, member)
		}
	}
	return f
}

// quote is s as a JSON text.
func quote(s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic("adapter: a text cannot be encoded") // a bug of ours: texts always can
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// appendObject appends the object of the features in row number row of area. What is missing is left out.
func appendObject(out []byte, members []field, area []byte, row int) []byte {
	out = append(out, '{')
	first := true
	for i := range members {
		f := &members[i]
		value := wasm.Float(area, row*len(members)+i)
		level := -1
		switch {
		case math.IsNaN(value) || math.IsInf(value, 0):
			continue
		case len(f.levels) > 0:
			level = int(value)
			if float64(level) != value || level < 0 || level >= len(f.levels) {
				continue
			}
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(out, f.key...)
		if level >= 0 {
			out = append(out, f.levels[level]...)
		} else {
			out = appendNumber(out, value)
		}
	}
	return append(out, '}')
}

// appendNumber appends a finite number as encoding/json writes it.
func appendNumber(out []byte, f float64) []byte {
	if whole := int64(f); float64(whole) == f && whole > -1<<53 && whole < 1<<53 {
		return strconv.AppendInt(out, whole, 10)
	}
	if abs := math.Abs(f); abs < 1e-6 || abs >= 1e21 {
		return strconv.AppendFloat(out, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(out, f, 'f', -1, 64)
}

// request appends the document that a scorer reads: all rows of a call.
func (f *fields) request(out []byte, g *wasm.Guest, rows int) []byte {
	out = append(out, `{"subject":`...)
	out = appendObject(out, f.subject, g.Subject(), 0)
	out = append(out, `,"candidates":[`...)
	candidates := g.Candidates()
	for row := range rows {
		if row > 0 {
			out = append(out, ',')
		}
		out = appendObject(out, f.candidate, candidates, row)
	}
	return append(out, `]}`...)
}

// one appends the document of one row.
func (f *fields) one(out []byte, g *wasm.Guest, row int) []byte {
	out = append(out, `{"subject":`...)
	out = appendObject(out, f.subject, g.Subject(), 0)
	out = append(out, `,"candidate":`...)
	out = appendObject(out, f.candidate, g.Candidates(), row)
	return append(out, '}')
}

// scores reads the answer to request into the areas of g. function names the export that gave it.
func scores(g *wasm.Guest, answer []byte, rows int, function string) error {
	if !g.Take(byteFuel * uint64(len(answer))) {
		return nil // the call ends for its fuel
	}
	var reply struct {
		Scores []*float64 `json:"scores"`
	}
	if err := json.Unmarshal(answer, &reply); err != nil {
		return wasm.Fault(wasm.ReasonStatus, function, "answered with %d bytes that are no JSON object with a list of numbers named scores", len(answer))
	}
	if len(reply.Scores) != rows {
		return wasm.Fault(wasm.ReasonStatus, function, "answered with %d scores for %d candidates", len(reply.Scores), rows)
	}
	area := g.Scores()
	for row, score := range reply.Scores {
		if score != nil { // NaN stands there already
			wasm.PutFloat(area, row, *score)
		}
	}
	return nil
}
