package api

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"testing"
)

func TestTensors(t *testing.T) {
	f32, f64 := make([]byte, 4), make([]byte, 8)
	binary.LittleEndian.PutUint32(f32, math.Float32bits(1.5))
	binary.LittleEndian.PutUint64(f64, math.Float64bits(-2.25))
	for _, c := range []struct {
		datatype, raw string
		want          []float64
	}{
		{"BOOL", "\x00\x07", []float64{0, 1}}, {"INT8", "\xff\x01", []float64{-1, 1}}, {"UINT8", "\xff", []float64{255}},
		{"INT16", "\xfe\xff", []float64{-2}}, {"UINT16", "\xfe\xff", []float64{65534}}, {"INT32", "\xff\xff\xff\xff", []float64{-1}},
		{"UINT32", "\xff\xff\xff\xff", []float64{math.MaxUint32}}, {"INT64", "\xff\xff\xff\xff\xff\xff\xff\xff", []float64{-1}},
		{"UINT64", "\x01\x00\x00\x00\x00\x00\x00\x00", []float64{1}}, {"FP32", string(f32), []float64{1.5}}, {"FP64", string(f64), []float64{-2.25}},
	} {
		got, err := binaryValues(c.datatype, []byte(c.raw))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: got %v, %v, want %v", c.datatype, got, err, c.want)
		}
	}
	for text, want := range map[string]string{
		`[1,2.5,true,null]`: "[1 2.5 1 NaN]", `[[1,2],[3,4]]`: "[1 2 3 4]", `[]`: "[]",
	} {
		if got, err := jsonValues("FP64", json.RawMessage(text)); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, %v, want %s", text, got, err, want)
		}
	}
	for _, bad := range []string{``, `["a"]`, `[{"a":1}]`, `[[[1]]]`, `[1`} {
		if got, err := jsonValues("FP64", json.RawMessage(bad)); err == nil {
			t.Errorf("%s was taken for %v", bad, got)
		}
	}
	if _, err := binaryValues("FP64", make([]byte, 9)); err == nil {
		t.Error("nine bytes were taken for FP64")
	}
	if _, err := binaryValues("BYTES", nil); err == nil {
		t.Error("BYTES were taken")
	}
}

// FuzzInfer reads any body; what is taken has the rows and features it says.
func FuzzInfer(f *testing.F) {
	f.Add(`{"inputs":[{"name":"features","datatype":"FP64","shape":[1,2],"data":[1,2]}]}`, "")
	f.Add(`{"inputs":[{"name":"a","datatype":"INT64","shape":[2],"data":[1,2]},{"name":"b","datatype":"BOOL","shape":[2,1],"data":[[true],[null]]}]}`, "")
	f.Add(`{"inputs":[{"name":"features","datatype":"UINT8","shape":[1,2],"parameters":{"binary_data_size":2}}]}`, "\x01\x02")
	f.Add(`{"inputs":[{"name":"features","datatype":"FP64","shape":[9223372036854775807,2],"data":[]}]}`, "")
	f.Fuzz(func(t *testing.T, head, tail string) {
		in := &request{body: []byte(head + tail), header: func(string) string { return strconv.Itoa(len(head)) }}
		req, err := readInfer(in)
		if err != nil {
			return
		}
		rows, err := rowsOf(req.Inputs, []string{"a", "b"})
		if err != nil {
			return
		}
		if len(rows) != int(req.Inputs[0].Shape[0]) || len(rows) > maxInferRows {
			t.Fatalf("%d rows of a shape of %v", len(rows), req.Inputs[0].Shape)
		}
		for _, row := range rows {
			if len(row) != 2 {
				t.Fatalf("a row of %d features", len(row))
			}
		}
	})
}
