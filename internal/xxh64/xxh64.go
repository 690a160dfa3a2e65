// Package xxh64 is the XXH64 hash with seed 0
// (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md). It stands
// here because consistent hashing is a promise between processes of different
// versions: the function must never change.
package xxh64

import (
	"encoding/binary"
	"math/bits"
)

const (
	prime1 = 0x9E3779B185EBCA87
	prime2 = 0xC2B2AE3D27D4EB4F
	prime3 = 0x165667B19E3779F9
	prime4 = 0x85EBCA77C2B2AE63
	prime5 = 0x27D4EB2F165667C5
)

// Sum returns the hash of s. It does not allocate.
func Sum[T ~string | ~[]byte](s T) uint64 {
	n := uint64(len(s))
	var h uint64
	if len(s) >= 32 {
		h, s = stripes(s)
	} else {
		h = prime5
	}
	return tail(h+n, s)
}

// Mix spreads x over all bits: XXH64's own last step.
func Mix(x uint64) uint64 {
	x ^= x >> 33
	x *= prime2
	x ^= x >> 29
	x *= prime3
	return x ^ x>>32
}

// stripes takes in all whole blocks of 32 bytes and returns the rest.
func stripes[T ~string | ~[]byte](s T) (h uint64, rest T) {
	p1, p2 := uint64(prime1), uint64(prime2)
	v1, v2, v3, v4 := p1+p2, p2, uint64(0), -p1
	for ; len(s) >= 32; s = s[32:] {
		v1 = round(v1, word(s[0:8]))
		v2 = round(v2, word(s[8:16]))
		v3 = round(v3, word(s[16:24]))
		v4 = round(v4, word(s[24:32]))
	}
	h = bits.RotateLeft64(v1, 1) + bits.RotateLeft64(v2, 7) + bits.RotateLeft64(v3, 12) + bits.RotateLeft64(v4, 18)
	for _, v := range [...]uint64{v1, v2, v3, v4} {
		h = (h^round(0, v))*prime1 + prime4
	}
	return h, s
}

func tail[T ~string | ~[]byte](h uint64, s T) uint64 {
	for ; len(s) >= 8; s = s[8:] {
		h = bits.RotateLeft64(h^round(0, word(s[:8])), 27)*prime1 + prime4
	}
	if len(s) >= 4 {
		var b [4]byte
		copy(b[:], s)
		h = bits.RotateLeft64(h^uint64(binary.LittleEndian.Uint32(b[:]))*prime1, 23)*prime2 + prime3
		s = s[4:]
	}
	for i := range len(s) {
		h = bits.RotateLeft64(h^uint64(s[i])*prime5, 11) * prime1
	}
	return Mix(h)
}

func round(acc, input uint64) uint64 {
	return bits.RotateLeft64(acc+input*prime2, 31) * prime1
}

func word[T ~string | ~[]byte](s T) uint64 {
	var b [8]byte
	copy(b[:], s)
	return binary.LittleEndian.Uint64(b[:])
}
