package importer

import (
	"bytes"
	"math"
	"strconv"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// parseScalar reads a bool, int, float or time as nba.ParseValue does, without making the text a
// string first. bad says what was expected, or is "".
func parseScalar(kind nba.Kind, text []byte) (v nba.Value, bad string) {
	switch kind {
	case nba.KindBool:
		if len(text) == 1 && (text[0] == '0' || text[0] == '1') {
			return nba.Bool(text[0] == '1'), ""
		}
		if b, ok := boolWord(text); ok {
			return nba.Bool(b), ""
		}
	case nba.KindInt:
		if i, ok := smallInt(text); ok {
			return nba.Int(i), ""
		}
	case nba.KindFloat:
		if f, err := strconv.ParseFloat(string(text), 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return nba.Float(f), ""
		}
	case nba.KindTime:
		if ms, ok := dateOnly(text); ok {
			return nba.TimeMillis(ms), ""
		}
	default:
	}
	// The seldom and the wrong: the vocabulary decides, and words the complaint.
	v, err := nba.ParseValue(kind, string(text))
	if err != nil {
		return nba.Value{}, err.Error()
	}
	return v, ""
}

func boolWord(text []byte) (value, ok bool) {
	switch len(text) {
	case 2:
		return false, text[0]|0x20 == 'n' && text[1]|0x20 == 'o'
	case 3:
		return true, text[0]|0x20 == 'y' && text[1]|0x20 == 'e' && text[2]|0x20 == 's'
	default:
		return false, false
	}
}

// smallInt reads up to 18 digits, which cannot overflow.
func smallInt(text []byte) (int64, bool) {
	digits := text
	negative := len(text) > 0 && text[0] == '-'
	if negative {
		digits = text[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

// dateOnly reads YYYY-MM-DD.
func dateOnly(text []byte) (ms int64, ok bool) {
	if len(text) != 10 || text[4] != '-' || text[7] != '-' {
		return 0, false
	}
	year, ok1 := smallInt(text[:4])
	month, ok2 := smallInt(text[5:7])
	day, ok3 := smallInt(text[8:])
	if !ok1 || !ok2 || !ok3 || year < 0 || month < 1 || month > 12 || day < 1 {
		return 0, false
	}
	t := time.Date(int(year), time.Month(month), int(day), 0, 0, 0, 0, time.UTC)
	if t.Day() != int(day) {
		return 0, false // such as the 31st of April
	}
	return t.UnixMilli(), true
}

// checkID is what is wrong with a subject id, or "". It agrees with nba.SubjectRef.Normalize.
func checkID(prefix int, id []byte) string {
	if prefix+len(id) > nba.MaxSubjectIDBytes {
		return "the subject id is longer than 128 bytes"
	}
	for i, c := range id {
		if c < 0x20 || c == 0x7f || c == 0xEF && bytes.HasPrefix(id[i:], []byte("\uFFFD")) {
			return "the subject id holds a control character or is not UTF-8"
		}
	}
	return ""
}

func subjectType(text []byte) (nba.SubjectType, bool) {
	for _, t := range nba.SubjectTypes {
		if string(text) == string(t) {
			return t, true
		}
	}
	return "", false
}
