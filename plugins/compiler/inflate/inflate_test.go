package inflate

import (
	"bytes"
	"compress/gzip"
	"errors"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func packed(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBytes(t *testing.T) {
	bomb := packed(t, make([]byte, 1<<20))
	whole := packed(t, []byte("a model"))
	tests := []struct {
		name  string
		file  []byte
		limit int
		want  string
		code  nba.Code
	}{
		{name: "plain", file: []byte("a model"), limit: 7, want: "a model"},
		{name: "empty", limit: 7},
		{name: "packed", file: whole, limit: 7, want: "a model"},
		{name: "plain, too long", file: []byte("a model"), limit: 6, code: nba.CodeTooLarge},
		{name: "packed, too long", file: whole, limit: 6, code: nba.CodeTooLarge},
		{name: "bomb", file: bomb, limit: 1<<20 - 1, code: nba.CodeTooLarge},
		{name: "cut off", file: whole[:len(whole)-3], limit: 7, code: nba.CodeModelInvalid},
		{name: "only the mark", file: whole[:2], limit: 7, code: nba.CodeModelInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Bytes(test.file, test.limit)
			if test.code != "" {
				if e, ok := errors.AsType[*nba.Error](err); !ok || e.Code != test.code {
					t.Fatalf("error %v, want code %s", err, test.code)
				}
				return
			}
			if err != nil || string(got) != test.want {
				t.Fatalf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}
