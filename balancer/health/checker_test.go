package health_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/balancer/health"
)

var errDown = errors.New("down")

// dialer is endpoints in memory: it connects while up, fails while down, and hangs
// until the context ends while stuck.
type dialer struct {
	down, stuck atomic.Bool
	dials       atomic.Int64
	open        atomic.Int64

	mu sync.Mutex
	at []time.Time
}

func (d *dialer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	d.dials.Add(1)
	d.mu.Lock()
	d.at = append(d.at, time.Now())
	d.mu.Unlock()
	if d.stuck.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if d.down.Load() {
		return nil, errDown
	}
	near, far := net.Pipe()
	far.Close()
	d.open.Add(1)
	return &counted{near, d}, nil
}

type counted struct {
	net.Conn
	dialer *dialer
}

func (c *counted) Close() error {
	c.dialer.open.Add(-1)
	return c.Conn.Close()
}

func newChecker(t testing.TB, c health.Check) *health.Checker {
	t.Helper()
	checker, err := health.NewChecker(c)
	if err != nil {
		t.Fatal(err)
	}
	return checker
}

// verdicts are what a watch has said.
type verdicts struct {
	mu  sync.Mutex
	all []error
}

func (v *verdicts) add(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all = append(v.all, err)
}

func (v *verdicts) get() []error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.all
}

// Three failures in a row take an endpoint out, two successes bring it back.
func TestThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d dialer
		var said verdicts
		stop := newChecker(t, health.Check{}).Watch(health.Target{Addr: "a:1", Dial: d.dial}, said.add)
		defer stop()
		until := func(n int64) {
			for d.dials.Load() < n {
				time.Sleep(100 * time.Millisecond)
			}
			synctest.Wait()
		}
		until(3)
		if verdicts := said.get(); len(verdicts) != 0 {
			t.Errorf("verdicts of a well endpoint: %v", verdicts)
		}
		d.down.Store(true)
		until(5)
		d.down.Store(false)
		until(6) // which ends the row
		d.down.Store(true)
		until(8)
		if verdicts := said.get(); len(verdicts) != 0 {
			t.Errorf("verdicts after two failures in a row: %v", verdicts)
		}
		until(9)
		if verdicts := said.get(); len(verdicts) != 1 || !errors.Is(verdicts[0], errDown) {
			t.Errorf("verdicts after three failures in a row: %v", verdicts)
		}
		d.down.Store(false)
		until(10)
		if verdicts := said.get(); len(verdicts) != 1 {
			t.Errorf("verdicts after one success: %v", verdicts)
		}
		until(11)
		if verdicts := said.get(); len(verdicts) != 2 || verdicts[1] != nil {
			t.Errorf("verdicts after two successes: %v", verdicts)
		}
		if d.open.Load() != 0 {
			t.Errorf("%d connections are open", d.open.Load())
		}
	})
}

// An endpoint that is down from the start needs one success only.
func TestFirstSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d dialer
		d.down.Store(true)
		var said verdicts
		stop := newChecker(t, health.Check{}).Watch(health.Target{Addr: "a:1", Dial: d.dial}, said.add)
		defer stop()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if verdicts := said.get(); len(verdicts) != 1 || verdicts[0] == nil {
			t.Fatalf("verdicts %v, want one failure", verdicts)
		}
		n := d.dials.Load()
		d.down.Store(false)
		for d.dials.Load() == n {
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if verdicts := said.get(); len(verdicts) != 2 || verdicts[1] != nil {
			t.Errorf("verdicts %v, want a success after the first check that passed", verdicts)
		}
	})
}

// Checks begin within a second, and follow at the interval, varied by a fifth: many
// endpoints are not checked at the same moment.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d dialer
		checker := newChecker(t, health.Check{})
		const n = 1000
		for range n {
			stop := checker.Watch(health.Target{Addr: "a:1", Dial: d.dial}, func(error) {})
			defer stop()
		}
		began := time.Now()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := d.dials.Load(); got != n {
			t.Errorf("%d of %d endpoints were checked in the first second", got, n)
		}
		time.Sleep(99 * time.Second)
		synctest.Wait()
		if got := d.dials.Load(); got < 19*n || got > 21*n {
			t.Errorf("%d checks in 100 s, want %d", got, 20*n)
		}
		slots := map[int64]int{}
		for _, at := range d.at {
			slots[int64(at.Sub(began)/(10*time.Millisecond))]++
		}
		for slot, checks := range slots {
			if checks > n/20 {
				t.Errorf("%d of %d endpoints are checked within the 10 ms from %v", checks, n, time.Duration(slot)*10*time.Millisecond)
			}
		}
	})
}

// A check that hangs fails after its timeout, and stop ends it at once.
func TestHangingCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d dialer
		d.stuck.Store(true)
		verdicts := make(chan error, 10)
		stop := newChecker(t, health.Check{}).Watch(health.Target{Addr: "a:1", Dial: d.dial}, func(err error) { verdicts <- err })
		began := time.Now()
		err := <-verdicts
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 15*time.Second {
			t.Errorf("verdict %v after %v", err, took)
		}
		n := d.dials.Load()
		for d.dials.Load() == n {
			time.Sleep(10 * time.Millisecond)
		}
		stop()
		stop()
		synctest.Wait()
		time.Sleep(time.Minute)
		if d.dials.Load() != n+1 || len(verdicts) != 0 {
			t.Errorf("%d more checks and %d verdicts after stop", d.dials.Load()-n-1, len(verdicts))
		}
	})
}
