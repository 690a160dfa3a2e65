package fairlead

import (
	"errors"
	"io"
	"sync"
	"time"
)

const (
	replayMax = 64 << 10              // how much of a body is remembered for another attempt
	readWait  = 10 * time.Millisecond // how long a retry waits for a Read of the body under way
)

var errReplaced = errors.New("fairlead: the attempt was given up, its body went to the next")

// replay lets a body that can be read only once be sent more than once, as long
// as not more than replayMax of it was read: a tee, not a copy.
//
// A transport may go on reading, and close, a request's body after it has
// returned an error. So each attempt has a reader of its own, which is cut off
// when the next attempt begins, and the caller's body is closed only when the
// call is decided.
type replay struct {
	mu      sync.Mutex
	read    sync.Cond     // a Read of src has returned; its L is mu
	src     io.ReadCloser // the caller's body; read by one goroutine at a time
	seen    []byte        // what was read of it; guarded by mu
	gone    bool          // more than replayMax was read; guarded by mu
	reading bool          // guarded by mu
	end     error         // what src ended with; guarded by mu
	total   int64         // bytes read of src; guarded by mu
	current *replayReader // guarded by mu
	decided bool          // there will be no other attempt; guarded by mu
	closed  bool          // src is; guarded by mu
}

func newReplay(src io.ReadCloser) *replay {
	r := &replay{src: src}
	r.read.L = &r.mu
	return r
}

// replayable reports whether the body can be sent once more. A Read that is under
// way is given a moment to return: while the caller's body blocks, nobody else
// can read it.
func (r *replay) replayable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awaitReadLocked()
	return !r.reading && !r.gone && !r.tornLocked()
}

// awaitReadLocked waits for a Read under way, for readWait at most.
func (r *replay) awaitReadLocked() {
	if !r.reading {
		return
	}
	late := false
	timer := time.AfterFunc(readWait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		late = true
		r.read.Broadcast()
	})
	defer timer.Stop()
	for r.reading && !late {
		r.read.Wait()
	}
}

// cut ends the reader of the attempt that was given up.
func (r *replay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = nil
}

// failed reports whether the caller's body could not be read.
func (r *replay) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tornLocked()
}

// mismatches reports whether the body turned out not to have its declared length.
func (r *replay) mismatches(length int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return length > 0 && (r.total > length || errors.Is(r.end, io.EOF) && r.total < length)
}

func (r *replay) tornLocked() bool { return r.end != nil && !errors.Is(r.end, io.EOF) }

// next returns the body for the next attempt.
func (r *replay) next() (io.ReadCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awaitReadLocked()
	if r.reading || r.gone {
		return nil, errReplaced
	}
	r.current = &replayReader{replay: r}
	return r.current, nil
}

// decide says that there will be no other attempt: the caller's body is closed
// as soon as the last one has closed its own, and nothing more is remembered.
func (r *replay) decide() {
	r.mu.Lock()
	r.decided = true
	closing := r.current == nil || r.current.closed
	r.mu.Unlock()
	if closing {
		r.close()
	}
}

func (r *replay) close() {
	r.mu.Lock()
	again := r.closed
	r.closed = true
	r.mu.Unlock()
	if !again {
		r.src.Close()
	}
}

// replayReader is one attempt's body: first what was seen, then the rest.
type replayReader struct {
	replay *replay
	at     int
	closed bool // guarded by replay.mu
}

func (b *replayReader) Read(p []byte) (int, error) {
	r := b.replay
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.current != b:
		return 0, errReplaced
	case b.closed:
		return 0, errors.New("fairlead: read of a closed request body")
	case b.at < len(r.seen):
		n := copy(p, r.seen[b.at:])
		b.at += n
		return n, nil
	case r.end != nil:
		return 0, r.end
	}
	n, err := r.readLocked(p)
	r.end = err
	r.total += int64(n)
	if n > 0 {
		r.rememberLocked(p[:n])
	}
	if !r.gone {
		b.at = len(r.seen)
	}
	return n, err
}

// readLocked reads the caller's body, without the lock.
func (r *replay) readLocked(p []byte) (int, error) {
	r.reading = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.reading = false
		r.read.Broadcast()
	}()
	return r.src.Read(p)
}

func (r *replay) rememberLocked(p []byte) {
	if r.gone || r.decided || len(r.seen)+len(p) > replayMax {
		r.gone = true
		r.seen = nil
		return
	}
	r.seen = append(r.seen, p...)
}

func (b *replayReader) Close() error {
	r := b.replay
	r.mu.Lock()
	b.closed = true
	closing := r.decided && r.current == b
	r.mu.Unlock()
	if closing {
		r.close()
	}
	return nil
}
