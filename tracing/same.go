package tracing

import "unsafe"

// same reports whether what is held and other, which are of an interface type, are one
// value, of one type and in one place. Unlike == it can be asked of values that cannot be compared, and costs
// a call next to nothing. Values that were made apart are not the same, even where they
// are equal. As long as the one is held, its place is not another's.
func same[I any](held *I, other I) bool {
	return *(*[2]uintptr)(unsafe.Pointer(held)) == *(*[2]uintptr)(unsafe.Pointer(&other))
}
