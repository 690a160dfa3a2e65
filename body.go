package fairlead

import (
	"errors"
	"io"
	"sync"
)

// endOf returns a body that calls end once, when body was read to its end or
// closed: with nil, or with the error that it broke off with. It stays an
// io.Writer where body is one.
func endOf(body io.ReadCloser, end func(error)) io.ReadCloser {
	b := &endingBody{ReadCloser: body, end: end}
	if w, ok := body.(io.Writer); ok {
		return struct {
			*endingBody
			io.Writer
		}{b, w}
	}
	return b
}

type endingBody struct {
	io.ReadCloser
	once sync.Once
	end  func(error)
}

func (b *endingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		broken := err
		if errors.Is(err, io.EOF) {
			broken = nil
		}
		b.once.Do(func() { b.end(broken) })
	}
	return n, err
}

func (b *endingBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() { b.end(nil) })
	return err
}
