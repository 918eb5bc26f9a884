package hostile

import (
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// Caller is a module of an adapter that calls the functions of its host as the choices say, whatever comes:
// each call takes a byte for the function and one for each argument, which picks among small numbers,
// addresses at the ends of memory, the last result, and numbers that are no address at all.
func Caller(m *artifact.Manifest, functions []wasm.ForeignImport, choices []byte) []byte {
	imports := make([][]byte, len(functions))
	types := [][]byte{raw(0x60, 0, 1, 0x7f), raw(0x60, 0, 0)}
	for i, f := range functions {
		types = append(types, join(raw(0x60), vectorOf(f.Params), vectorOf(f.Results)))
		imports[i] = u32(join(name(f.Module), name(f.Name), raw(0)), uint32(2+i))
	}
	code := callCode(functions, choices)
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = section(out, 1, vector(types...))
	out = section(out, 2, vector(imports...))
	entry, typ, end := "_start", byte(1), raw()
	if m.Adapter.Kind == artifact.AdapterExtism {
		entry, typ, end = m.Adapter.Entrypoint, 0, raw(0x41, 0)
	}
	out = section(out, 3, vector(raw(typ)))
	out = section(out, 5, vector(raw(0, 2)))
	out = section(out, 7, vector(join(name("memory"), raw(2, 0)), u32(join(name(entry), raw(0)), uint32(len(functions)))))
	out = section(out, 10, vector(body(raw(1, 1, 0x7e), join(code, end))))
	return mustEmbed(out, m)
}

func vectorOf(b []byte) []byte { return append(u32(nil, uint32(len(b))), b...) }

// callCode is the calls; local 0 holds the last result as an i64.
func callCode(functions []wasm.ForeignImport, choices []byte) (code []byte) {
	const most = 200
	pick := func() int {
		if len(choices) == 0 {
			return 0
		}
		c := choices[0]
		choices = choices[1:]
		return int(c)
	}
	numbers := [...]int64{0, 1, 2, 3, 8, 16, 17, 24, 64, 100, 1000, 4096, 65535, 65536, 131064, 131071, 131072, 1 << 20, 4<<20 - 8, 4 << 20, 1<<31 - 1, -1, -8, -1 << 31}
	for n := 0; n < most && len(choices) > 0; n++ {
		i := pick() % len(functions)
		f := &functions[i]
		for _, t := range f.Params {
			choice := pick()
			number := numbers[choice%len(numbers)]
			switch {
			case choice >= 200: // the last result
				code = append(code, 0x20, 0)
				if t == 0x7f {
					code = append(code, 0xa7)
				}
			case t == 0x7f:
				code = append(code, join(raw(0x41), signed(number))...)
			case choice >= 180:
				code = append(code, join(raw(0x42), signed(-1<<63+number))...)
			default:
				code = append(code, join(raw(0x42), signed(number))...)
			}
		}
		code = u32(append(code, 0x10), uint32(i))
		for _, t := range f.Results {
			if t == 0x7f {
				code = append(code, 0xad)
			}
			code = append(code, 0x21, 0)
		}
	}
	return code
}
