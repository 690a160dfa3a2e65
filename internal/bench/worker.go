package main

import "time"

// worker does the work of an entry.
type worker struct {
	// work does n pieces of it, and is called by as many goroutines at once as the
	// contest has callers.
	work func(n int) error

	// where does one piece and says at which endpoint; nil where none is asked for.
	where func() (addr string, err error)

	// stop ends what start began; nil means nothing to end.
	stop func()

	// helper is what the work costs another process, in CPU time so far; nil where
	// there is none.
	helper func() (time.Duration, error)

	// took is how long each piece of the work takes; nil where nobody asks.
	took *histogram
}

// untimed is a worker whose work is calls that take too little for each to be timed.
func untimed(call func() error, stop func()) worker {
	return worker{stop: stop, work: func(n int) error {
		for range n {
			if err := call(); err != nil {
				return err
			}
		}
		return nil
	}}
}

// caller is a worker whose work is calls, of which it notes how long each takes.
func caller(call func() error, stop func()) worker {
	took := &histogram{}
	return worker{stop: stop, took: took, work: func(n int) error {
		var own counts
		for range n {
			began := time.Now()
			if err := call(); err != nil {
				return err
			}
			own.add(time.Since(began))
		}
		took.merge(&own)
		return nil
	}}
}
