// Package inflate unpacks model files that come gzipped, within a bound.
package inflate

import (
	"bytes"
	"compress/gzip"
	"io"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Bytes unpacks file when it is gzipped and hands it back as it is when it is not. Errors are
// *nba.Error: CodeTooLarge for more than limit bytes, packed or unpacked, CodeModelInvalid for a
// damaged archive.
func Bytes(file []byte, limit int) ([]byte, error) {
	if len(file) < 2 || file[0] != 0x1f || file[1] != 0x8b {
		if len(file) > limit {
			return nil, tooLarge(limit)
		}
		return file, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, damaged()
	}
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return nil, damaged()
	case len(out) > limit:
		return nil, tooLarge(limit)
	}
	return out, nil
}

func tooLarge(limit int) error {
	return nba.Errorf(nba.CodeTooLarge, "the model file has more than %d bytes; train fewer or shallower trees", limit)
}

func damaged() error {
	return nba.Errorf(nba.CodeModelInvalid, "the model file is a damaged gzip archive; save the model again")
}
