package xxh64_test

import (
	"math/big"
	"strings"
	"testing"

	"github.com/fairlead-go/fairlead/internal/xxh64"
)

// reference follows the text of the specification, step by step and without any
// trick, in numbers of any size.
func reference(data []byte) uint64 {
	two64 := new(big.Int).Lsh(big.NewInt(1), 64)
	num := func(x uint64) *big.Int { return new(big.Int).SetUint64(x) }
	mod := func(x *big.Int) uint64 { return new(big.Int).Mod(x, two64).Uint64() }
	mul := func(a, b uint64) uint64 { return mod(new(big.Int).Mul(num(a), num(b))) }
	add := func(a, b uint64) uint64 { return mod(new(big.Int).Add(num(a), num(b))) }
	sub := func(a, b uint64) uint64 { return mod(new(big.Int).Sub(num(a), num(b))) }
	rotl := func(x uint64, n uint) uint64 {
		high := new(big.Int).Rsh(num(x), 64-n)
		return add(mod(new(big.Int).Lsh(num(x), n)), high.Uint64())
	}
	little := func(b []byte) uint64 {
		x := uint64(0)
		for i := len(b) - 1; i >= 0; i-- {
			x = x*256 + uint64(b[i])
		}
		return x
	}
	const (
		p1 = 11400714785074694791
		p2 = 14029467366897019727
		p3 = 1609587929392839161
		p4 = 9650029242287828579
		p5 = 2870177450012600261
	)
	round := func(acc, lane uint64) uint64 { return mul(rotl(add(acc, mul(lane, p2)), 31), p1) }

	acc, rest := uint64(p5), data
	if len(data) >= 32 {
		v := [4]uint64{add(p1, p2), p2, 0, sub(0, p1)}
		for ; len(rest) >= 32; rest = rest[32:] {
			for i := range v {
				v[i] = round(v[i], little(rest[8*i:8*i+8]))
			}
		}
		acc = add(add(rotl(v[0], 1), rotl(v[1], 7)), add(rotl(v[2], 12), rotl(v[3], 18)))
		for i := range v {
			acc = add(mul(acc^round(0, v[i]), p1), p4)
		}
	}
	acc = add(acc, uint64(len(data)))
	for ; len(rest) >= 8; rest = rest[8:] {
		acc = add(mul(rotl(acc^round(0, little(rest[:8])), 27), p1), p4)
	}
	if len(rest) >= 4 {
		acc = add(mul(rotl(acc^mul(little(rest[:4]), p1), 23), p2), p3)
		rest = rest[4:]
	}
	for _, b := range rest {
		acc = mul(rotl(acc^mul(uint64(b), p5), 11), p1)
	}
	acc = mul(acc^acc>>33, p2)
	acc = mul(acc^acc>>29, p3)
	return acc ^ acc>>32
}

func FuzzSum(f *testing.F) {
	for n := range 70 {
		f.Add([]byte(strings.Repeat("fairlead ", 10)[:n]))
	}
	f.Add([]byte(strings.Repeat("\xff\x00\x80", 100)))
	f.Fuzz(func(t *testing.T, data []byte) {
		want := reference(data)
		if got := xxh64.Sum(data); got != want {
			t.Errorf("Sum([]byte(%q)) = %#x, want %#x", data, got, want)
		}
		if got := xxh64.Sum(string(data)); got != want {
			t.Errorf("Sum(%q) = %#x, want %#x", data, got, want)
		}
	})
}
