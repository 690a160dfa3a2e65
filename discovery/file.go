package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"
)

const (
	fileInterval      = time.Second
	fileIntervalLeast = 10 * time.Millisecond
	fileIntervalMost  = time.Hour
	fileRefresh       = time.Second // at least, between the polls that Refresh causes
)

// FileResolver is a Resolver over a file of JSON that is read again when it
// changes. Make one with [File], and set its fields before it is used. All
// methods are safe for concurrent use.
type FileResolver struct {
	// Interval is the time from one look at the file to the next, from 10 ms
	// to 1 h. Zero means 1 s.
	Interval time.Duration

	// Logger is told when the file cannot be used, and when it can be used
	// again, once for each change of that. Nil means slog.Default().
	Logger *slog.Logger

	path string

	mu      sync.Mutex
	watches int           // guarded by mu
	looking bool          // the goroutine runs that looks at the file; guarded by mu
	state   *fileState    // nil until it has looked; replaced, never changed; guarded by mu
	changed chan struct{} // closed when state is replaced; guarded by mu
	wake    chan struct{} // wakes the goroutine; guarded by mu

	contents fileContents // belongs to the goroutine that looks
}

// fileState is what there is to say of the file.
type fileState struct {
	table *fileTable // of the last good contents, or nil
	err   error      // why there is no newer one
}

var (
	_ Resolver  = (*FileResolver)(nil)
	_ Refresher = (*FileResolver)(nil)
)

// File returns a Resolver over the file at path, an object from a service's name
// to a list of its endpoints:
//
//	{
//	  "users": [
//	    {"addr": "10.0.0.1:8080", "weight": 3, "zone": "a"},
//	    {"addr": "10.0.0.2:8080", "id": "users-2", "metadata": {"version": "7"}}
//	  ],
//	  "orders": []
//	}
//
// The fields are those of [Endpoint] in lower case: id, addr, weight, drain,
// region, zone and metadata. A weight of 0 that is written down drains the
// endpoint. Names are in lower case and without a trailing dot.
//
// A file with a mistake in it is not used at all: Watch yields an error that says
// where the mistake is, and what was read before stands until the file is good
// again. So it is with a file that is missing, empty, half written, larger than
// 64 MiB, of more than 100,000 entries, or no regular file. It is best replaced
// by renaming a new one over it; symbolic links are followed.
//
// File does no I/O. A file that is not there yet is no error before it is watched.
func File(path string) *FileResolver { return &FileResolver{path: path} }

// Validate returns an error that names what is wrong: an empty path, an Interval
// out of its bounds. It does not look at the file.
func (f *FileResolver) Validate() error {
	var errs []error
	if f.path == "" {
		errs = append(errs, errors.New("discovery: File's path is empty, want that of a JSON file"))
	}
	if f.Interval != 0 && (f.Interval < fileIntervalLeast || f.Interval > fileIntervalMost) {
		errs = append(errs, fmt.Errorf("discovery: File's Interval is %v, want %v to %v, or 0 meaning %v",
			f.Interval, fileIntervalLeast, fileIntervalMost, fileInterval))
	}
	return errors.Join(errs...)
}

// Watch yields the service's endpoints now and after each change of them. A
// service that the file does not name is unknown, and empty once it was named.
// Each change of what is wrong with the file is yielded as an error.
//
// All watches share one goroutine, which looks at the file and reads it when it
// changed. It ends with the last of them.
func (f *FileResolver) Watch(ctx context.Context, service string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		if err := f.Validate(); err != nil {
			refuse(ctx, Snapshot{}, err, yield)
			return
		}
		f.attach()
		defer f.detach()
		w := fileWatch{service: service, yield: yield}
		for {
			state, changed := f.read()
			if !w.heed(state) {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
		}
	}
}

// Refresh makes the watches look at the file at once, or a second after the last
// look. It does not block.
func (f *FileResolver) Refresh(string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wakeLocked()
}

func (f *FileResolver) wakeLocked() {
	select {
	case f.wake <- struct{}{}:
	default: // it is awake, or there is nobody
	}
}

func (f *FileResolver) attach() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watches++
	if f.looking {
		return
	}
	f.looking, f.state = true, nil
	f.changed, f.wake = make(chan struct{}), make(chan struct{}, 1)
	go f.look(f.wake)
}

// detach does not wait for the goroutine, which a dead file system may hold.
// If so, the next watch finds it still there and does not start another.
func (f *FileResolver) detach() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watches--; f.watches == 0 {
		f.wakeLocked()
	}
}

func (f *FileResolver) read() (*fileState, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.changed
}

// look looks at the file again and again while it is watched.
func (f *FileResolver) look(wake <-chan struct{}) {
	for {
		began := time.Now()
		table, err := f.contents.look(f.path)
		f.publish(table, err)
		if !f.rest(began, wake) {
			return
		}
	}
}

// rest waits until it is time to look again, and reports whether it still is.
func (f *FileResolver) rest(began time.Time, wake <-chan struct{}) bool {
	interval := cmp.Or(f.Interval, fileInterval)
	due := time.Now().Add(interval)
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for !f.unwatched() {
		select {
		case <-timer.C:
			return !f.unwatched()
		case <-wake:
			if soon := began.Add(fileRefresh); soon.Before(due) {
				due = soon
				timer.Reset(time.Until(due))
			}
		}
	}
	return false
}

// unwatched reports whether nobody watches. The goroutine that looks has to end
// then: the next watch starts another.
func (f *FileResolver) unwatched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watches == 0 {
		f.looking = false
	}
	return f.watches == 0
}

func (f *FileResolver) publish(table *fileTable, err error) {
	f.mu.Lock()
	old := f.state
	news := old == nil || old.table != table || errorText(old.err) != errorText(err)
	if news {
		f.state = &fileState{table: table, err: err}
		close(f.changed)
		f.changed = make(chan struct{})
	}
	f.mu.Unlock()
	if news {
		f.log(old, err)
	}
}

// log tells of a change in what is wrong with the file.
func (f *FileResolver) log(old *fileState, err error) {
	logger := f.Logger
	if logger == nil {
		logger = slog.Default()
	}
	var before error
	if old != nil {
		before = old.err
	}
	switch {
	case errorText(before) == errorText(err):
	case err != nil:
		logger.Warn("discovery: the file cannot be used, keeping what was read before", "path", f.path, "error", err)
	default:
		logger.Info("discovery: the file can be used again", "path", f.path)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// fileWatch is the state of one sequence of a FileResolver.
type fileWatch struct {
	service string
	yield   func(Snapshot, error) bool
	seen    bool // the file has named the service
	last    told
	failure string // the last error yielded, "" after the file was good
}

// heed yields what is new in a state, and reports whether to go on.
func (w *fileWatch) heed(state *fileState) bool {
	if state == nil {
		return true
	}
	text := errorText(state.err)
	if text == "" && w.failure != "" {
		w.last.doubt()
	}
	if s, known := w.snapshot(state); known && w.last.news(s, nil) && !w.yield(s, nil) {
		return false
	}
	news := text != w.failure
	w.failure = text
	return text == "" || !news || w.yield(Snapshot{}, state.err)
}

// snapshot returns what the file says of the service. The last good contents
// prove nothing about a name that may be in those which cannot be used.
func (w *fileWatch) snapshot(state *fileState) (s Snapshot, known bool) {
	if state.table == nil {
		return Snapshot{}, false
	}
	endpoints, named := state.table.services[w.service]
	w.seen = w.seen || named
	unknown := !named && !w.seen
	return Snapshot{Endpoints: endpoints, Unknown: unknown}, !unknown || state.err == nil
}
