package wake_test

import (
	"testing"

	"github.com/fairlead-go/fairlead/internal/wake"
)

func TestSet(t *testing.T) {
	var s wake.Set[string]
	a, removeA := s.Add("users")
	b, removeB := s.Add("users")
	other, removeOther := s.Add("orders")
	woken := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	for range 3 { // a watch that has not looked yet is not woken twice
		s.Wake("users")
	}
	s.Wake("nobody")
	if !woken(a) || !woken(b) || woken(a) || woken(b) || woken(other) {
		t.Error("want each watch of users woken once, and no other")
	}
	removeA()
	s.Wake("users")
	if woken(a) || !woken(b) {
		t.Error("want the watch that is left woken, and not the one removed")
	}
	removeB()
	removeOther()
	if n := s.Len(); n != 0 {
		t.Errorf("%d keys are left, want none", n)
	}
}
