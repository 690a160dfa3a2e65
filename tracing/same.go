package tracing

import "unsafe"

// same reports whether a and b, which are of an interface type, are one value, of one type
// and in one place. Unlike == it can be asked of values that cannot be compared, and costs
// a call next to nothing. Values that were made apart are not the same, even where they
// are equal. Who remembers a value to recognise it must hold it: its place is not
// another's then.
func same[I any](a, b I) bool {
	return *(*[2]uintptr)(unsafe.Pointer(&a)) == *(*[2]uintptr)(unsafe.Pointer(&b))
}
