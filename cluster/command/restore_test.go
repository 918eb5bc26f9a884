package command

import (
	"bytes"
	"testing"
)

// TestRestoreOperations are read back as they were written, and refused when they are cut.
func TestRestoreOperations(t *testing.T) {
	pairs := AppendPair(AppendPair(nil, 1, []byte("key"), []byte("value")), 7, []byte("other"), nil)
	backup := [16]byte{1, 2, 3}
	for _, c := range []struct {
		op interface {
			Append([]byte) ([]byte, error)
		}
		decode func([]byte) (any, error)
	}{
		{&BeginRestore{Backup: backup, Base: 77}, func(b []byte) (any, error) { var o BeginRestore; err := o.Decode(b); return &o, err }},
		{&LoadPairs{Backup: backup, Pairs: pairs}, func(b []byte) (any, error) { var o LoadPairs; err := o.Decode(b); return &o, err }},
		{&EndRestore{Backup: backup, Digest: Digest{Hi: 1, Lo: 2}, Parts: pairs}, func(b []byte) (any, error) {
			var o EndRestore
			err := o.Decode(b)
			return &o, err
		}},
	} {
		encoded, err := c.op.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var b Builder
		b.Reset(1)
		b.Add(encoded)
		e, err := Open(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		op, _ := e.Next()
		got, err := c.decode(op.Body)
		if err != nil {
			t.Fatal(err)
		}
		again, err := got.(interface {
			Append([]byte) ([]byte, error)
		}).Append(nil)
		if err != nil || !bytes.Equal(again, encoded) {
			t.Errorf("%T: read back as %+v: %v", c.op, got, err)
		}
		for n := range op.Body {
			if _, err := c.decode(op.Body[:n]); err == nil && n != 16 && n != 32 && n != 16+11 && n != 32+11 {
				t.Errorf("%T: %d of %d bytes are taken", c.op, n, len(op.Body))
			}
		}
	}
}

// FuzzPairs: no bytes, whatever they are, make NextPair read beyond them or stand still.
func FuzzPairs(f *testing.F) {
	f.Add(AppendPair(nil, 1, []byte("key"), []byte("value")))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0xff, 1})
	f.Fuzz(func(t *testing.T, pairs []byte) {
		for len(pairs) > 0 {
			_, key, value, rest, ok := NextPair(pairs)
			if !ok {
				return
			}
			if len(key)+len(value)+len(rest) >= len(pairs) {
				t.Fatal("a pair takes nothing off")
			}
			pairs = rest
		}
	})
}
