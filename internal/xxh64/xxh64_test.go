package xxh64_test

import (
	"strings"
	"testing"

	"github.com/fairlead-go/fairlead/internal/xxh64"
)

// The first and last rows are published with other implementations of XXH64.
func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want uint64
	}{
		{"", 0xef46db3751d8e999},
		{"a", 0xd24ec4f1a98c6e5b},
		{"as", 0x1c330fb2d66be179},
		{"asd", 0x631c37ce72a97393},
		{"asdf", 0x415872f599cea71e},
		{"Call me Ishmael. Some years ago--never mind how long precisely-", 0x02a2e85470d6fd96},
	} {
		if got := xxh64.Sum(tt.in); got != tt.want {
			t.Errorf("Sum(%q) = %#x, want %#x", tt.in, got, tt.want)
		}
		if got := xxh64.Sum([]byte(tt.in)); got != tt.want {
			t.Errorf("Sum([]byte(%q)) = %#x, want %#x", tt.in, got, tt.want)
		}
	}
}

func TestEveryLengthDiffers(t *testing.T) {
	seen := map[uint64]int{}
	for n := range 200 {
		h := xxh64.Sum(strings.Repeat("x", n))
		if before, ok := seen[h]; ok {
			t.Errorf("lengths %d and %d share the hash %#x", before, n, h)
		}
		seen[h] = n
	}
}

func TestSumDoesNotAllocate(t *testing.T) {
	key := strings.Repeat("k", 77)
	if n := testing.AllocsPerRun(100, func() { xxh64.Sum(key) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
