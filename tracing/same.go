package tracing

import "unsafe"

// same reports whether two interfaces hold one value: of one type, and in one place, which
// is not another's as long as it is held. It compares their two words, so that, unlike ==,
// it can be asked of values that cannot be compared, such as a composite propagator, and
// takes no call. It says no of some that are equal but were put into interfaces apart, and
// yes only of values that do the same. I must be an interface type.
func same[I any](held *I, other I) bool {
	return *(*[2]uintptr)(unsafe.Pointer(held)) == *(*[2]uintptr)(unsafe.Pointer(&other))
}
