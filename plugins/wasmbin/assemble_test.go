package wasmbin_test

import "slices"

// The helpers below write modules that Builder cannot: malformed ones, and ones with parts it does not
// know.

func raw(b ...byte) []byte { return b }

func leb(n int) []byte {
	var out []byte
	for ; n >= 0x80; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(out, byte(n))
}

func vec(items ...[]byte) []byte { return append(leb(len(items)), slices.Concat(items...)...) }

func section(id byte, content []byte) []byte {
	return slices.Concat([]byte{id}, leb(len(content)), content)
}

func assemble(sections ...[]byte) []byte {
	return append([]byte("\x00asm\x01\x00\x00\x00"), slices.Concat(sections...)...)
}

// code is a body without locals; the end is added.
func code(instructions ...byte) []byte {
	body := slices.Concat([]byte{0}, instructions, []byte{0x0b})
	return append(leb(len(body)), body...)
}
