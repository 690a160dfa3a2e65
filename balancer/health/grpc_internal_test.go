package health

import (
	"bytes"
	"testing"
)

// FuzzAnswer checks that what is read of a server's message never panics, and that
// what we write we can read.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 4, 18, 1, 'x', 8})
	f.Add(frame(question("a.B")))
	f.Fuzz(func(t *testing.T, body []byte) {
		message, err := unframe(body)
		if err != nil {
			return
		}
		if !bytes.Equal(frame(message), body) {
			t.Errorf("%x reads as %x", body, message)
		}
		_, _ = servingStatus(message)
	})
}
