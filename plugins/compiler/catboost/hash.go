package catboost

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Hash is CatBoost's hash of the text of a category: the low 32 bits of CityHash64 of version 1.0,
// whose results differ from those of later versions.
func Hash(text string) int32 { return int32(uint32(cityHash64([]byte(text)))) }

// placeholder stands for a category whose text is not known.
func placeholder(hash int32) string { return fmt.Sprintf("\x00catboost:%08x", uint32(hash)) }

// The multipliers of CityHash.
const (
	city0 = 0xc3a5c85c97cb3127
	city1 = 0xb492b66fbe98f273
	city2 = 0x9ae16a3b2f90404f
	city3 = 0xc949d7c7509e6557
)

func load64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
func load32(b []byte) uint64 { return uint64(binary.LittleEndian.Uint32(b)) }

// rotate turns right.
func rotate(v uint64, n int) uint64 { return bits.RotateLeft64(v, -n) }
func mix(v uint64) uint64           { return v ^ v>>47 }

// pair hashes 128 bits to 64.
func pair(u, v uint64) uint64 {
	const mul = 0x9ddfea08eb382d69
	a := (u ^ v) * mul
	a ^= a >> 47
	b := (v ^ a) * mul
	b ^= b >> 47
	return b * mul
}

func cityHash64(s []byte) uint64 {
	switch n := len(s); {
	case n <= 16:
		return city16(s)
	case n <= 32:
		a, b := load64(s)*city1, load64(s[8:])
		c, d := load64(s[n-8:])*city2, load64(s[n-16:])*city0
		return pair(rotate(a-b, 43)+rotate(c, 30)+d, a+rotate(b^city3, 20)-c+uint64(n))
	case n <= 64:
		return city64(s)
	}
	return cityLong(s)
}

func city16(s []byte) uint64 {
	n := len(s)
	switch {
	case n > 8:
		a, b := load64(s), load64(s[n-8:])
		return pair(a, rotate(b+uint64(n), n)) ^ b
	case n >= 4:
		return pair(uint64(n)+load32(s)<<3, load32(s[n-4:]))
	case n > 0:
		y := uint32(s[0]) + uint32(s[n>>1])<<8
		z := uint32(n) + uint32(s[n-1])<<2
		return mix(uint64(y)*city2^uint64(z)*city3) * city2
	}
	return city2
}

func city64(s []byte) uint64 {
	n := len(s)
	half := func(at int, a, z uint64) (uint64, uint64) {
		b, c := rotate(a+z, 52), rotate(a, 37)
		a += load64(s[at+8:])
		c += rotate(a, 7)
		a += load64(s[at+16:])
		return a + z, b + rotate(a, 31) + c
	}
	vf, vs := half(0, load64(s)+(uint64(n)+load64(s[n-16:]))*city0, load64(s[24:]))
	wf, ws := half(n-32, load64(s[16:])+load64(s[n-32:]), load64(s[n-8:]))
	r := mix((vf+ws)*city2 + (wf+vs)*city0)
	return mix(r*city0+vs) * city2
}

// weak hashes 32 bytes with two seeds.
func weak(s []byte, a, b uint64) (uint64, uint64) {
	w, x, y, z := load64(s), load64(s[8:]), load64(s[16:]), load64(s[24:])
	a += w
	b = rotate(b+a+z, 21)
	c := a
	a += x + y
	b += rotate(a, 44)
	return a + z, b + c
}

func cityLong(s []byte) uint64 {
	n := len(s)
	x, y, z := load64(s), load64(s[n-16:])^city1, load64(s[n-56:])^city0
	v0, v1 := weak(s[n-64:], uint64(n), y)
	w0, w1 := weak(s[n-32:], uint64(n)*city1, city0)
	z += mix(v1) * city1
	x = rotate(z+x, 39) * city1
	y = rotate(y, 33) * city1
	for rest := (n - 1) &^ 63; rest > 0; rest, s = rest-64, s[64:] {
		x = rotate(x+y+v0+load64(s[16:]), 37) * city1
		y = rotate(y+v1+load64(s[48:]), 42) * city1
		x ^= w1
		y ^= v0
		z = rotate(z^w0, 33)
		v0, v1 = weak(s, v1*city1, x+w0)
		w0, w1 = weak(s[32:], z+w1, y)
		z, x = x, z
	}
	return pair(pair(v0, w0)+mix(y)*city1+z, pair(v1, w1)+x)
}
