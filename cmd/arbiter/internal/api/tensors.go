package api

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

var errDatatype = errors.New("the datatype is not one of BOOL, INT8 to INT64, UINT8 to UINT64, FP32, FP64")

// widths are the bytes of one value in the binary form, little endian.
func widths(datatype string) int {
	switch datatype {
	case "BOOL", "INT8", "UINT8":
		return 1
	case "INT16", "UINT16":
		return 2
	case "INT32", "UINT32", "FP32":
		return 4
	case "INT64", "UINT64", "FP64":
		return 8
	default:
		return 0
	}
}

// binaryValues reads a tensor as it lies behind the JSON of a request.
func binaryValues(datatype string, raw []byte) ([]float64, error) {
	width := widths(datatype)
	if width == 0 {
		return nil, errDatatype
	}
	if len(raw)%width != 0 {
		return nil, fmt.Errorf("%d bytes are no whole number of %s values", len(raw), datatype)
	}
	values := make([]float64, len(raw)/width)
	for i := range values {
		values[i] = binaryValue(datatype, raw[i*width:])
	}
	return values, nil
}

func binaryValue(datatype string, b []byte) float64 {
	switch datatype {
	case "BOOL":
		if b[0] != 0 {
			return 1
		}
		return 0
	case "INT8":
		return float64(int8(b[0]))
	case "UINT8":
		return float64(b[0])
	case "INT16":
		return float64(int16(binary.LittleEndian.Uint16(b)))
	case "UINT16":
		return float64(binary.LittleEndian.Uint16(b))
	case "INT32":
		return float64(int32(binary.LittleEndian.Uint32(b)))
	case "UINT32":
		return float64(binary.LittleEndian.Uint32(b))
	case "FP32":
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case "INT64":
		return float64(int64(binary.LittleEndian.Uint64(b)))
	case "UINT64":
		return float64(binary.LittleEndian.Uint64(b))
	default:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
}

// jsonValues reads the data of a tensor: a list of numbers, or one list for each row. null is a missing
// value, and true is 1.
func jsonValues(datatype string, raw json.RawMessage) ([]float64, error) {
	if widths(datatype) == 0 {
		return nil, errDatatype
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	var values []float64
	depth := 0
	for {
		token, err := decoder.Token()
		if err != nil {
			return nil, errors.New("data must be a list of numbers, or of lists of numbers")
		}
		switch v := token.(type) {
		case json.Delim:
			if v == '{' || v == '}' {
				return nil, errors.New("data holds an object")
			}
			if v == '[' {
				depth++
			} else {
				depth--
			}
			if depth > 2 {
				return nil, errors.New("data is nested deeper than rows and columns")
			}
		case float64:
			values = append(values, v)
		case bool:
			one := 0.0
			if v {
				one = 1
			}
			values = append(values, one)
		case nil:
			values = append(values, math.NaN())
		default:
			return nil, errors.New("data holds text")
		}
		if depth == 0 {
			return values, nil
		}
		if len(values) > maxInferValues {
			return nil, fmt.Errorf("more than %d values", maxInferValues)
		}
	}
}
