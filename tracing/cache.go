package tracing

import (
	"hash/maphash"
	"sync/atomic"
)

// probes is how many neighbouring slots a key may be in.
const probes = 4

// cache keeps what was made for a key, so that a call that is like an earlier
// one allocates nothing. It is bounded and takes no lock: a key has a few
// slots, and one that finds them taken replaces another.
type cache[K comparable, V any] struct {
	seed  maphash.Seed
	slots []atomic.Pointer[cached[K, V]]
}

type cached[K comparable, V any] struct {
	key   K
	value V
}

// newCache returns a cache of the given size, a power of two.
func newCache[K comparable, V any](size int) cache[K, V] {
	return cache[K, V]{maphash.MakeSeed(), make([]atomic.Pointer[cached[K, V]], size)}
}

// get returns the value of a key, made now unless it is known. The value is
// shared and must not be changed.
func (c *cache[K, V]) get(key K, create func(K) V) *V {
	var (
		home = maphash.Comparable(c.seed, key)
		mask = uint64(len(c.slots) - 1)
		free = &c.slots[home&mask]
	)
	for i := range uint64(probes) {
		slot := &c.slots[(home+i)&mask]
		known := slot.Load()
		if known == nil {
			free = slot
			break
		}
		if known.key == key {
			return &known.value
		}
	}
	made := &cached[K, V]{key, create(key)}
	free.Store(made)
	return &made.value
}
