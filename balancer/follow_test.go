package balancer_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balancer.New(balancer.Config{})
		defer b.Close()
		view := b.View(nil)
		calls, members, pickable := 0, 0, false
		stop := b.Follow(func() {
			calls++
			members = len(b.Nodes())
			lease, err := view.Pick(&balancer.Info{})
			pickable = err == nil
			lease.Release()
		})
		settle := func() int {
			time.Sleep(time.Second) // in a bubble: longer than any pause between builds
			synctest.Wait()
			n := calls
			calls = 0
			return n
		}
		if settle() == 0 {
			t.Error("no first call")
		}
		if err := b.Update(discovery.Addrs("127.0.0.1:1", "127.0.0.1:2")); err != nil {
			t.Fatal(err)
		}
		if n := settle(); n == 0 || members != 2 || !pickable {
			t.Errorf("after an update: %d calls, %d members, views built: %t", n, members, pickable)
		}
		view.Rebuild()
		if settle() == 0 {
			t.Error("no call after a Rebuild")
		}
		if n := settle(); n != 0 {
			t.Errorf("%d calls though nothing changed", n)
		}
		stop()
		view.Rebuild()
		if n := settle(); n != 0 {
			t.Errorf("%d calls after stop", n)
		}
	})
}

func TestFollowToTheEnd(t *testing.T) {
	b := balancer.New(balancer.Config{})
	if err := b.Update(discovery.Addrs("127.0.0.1:1")); err != nil {
		t.Fatal(err)
	}
	members := -1
	b.Follow(func() { members = len(b.Nodes()) })
	b.Close()
	if members != 0 {
		t.Errorf("%d members after Close, want the call that says 0", members)
	}
}
