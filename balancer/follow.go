package balancer

import "slices"

// follower is a function that wants to hear of builds.
type follower struct{ built func() }

// Follow has f called after each build, when all views pick by what it made: so
// after each change of members and readiness, and after a [View.Rebuild]. The
// first call comes soon, unless the Balancer is closed. f is called with no
// lock held, by one goroutine at a time, and must not block; it may be running,
// for the last time, when stop returns.
func (b *Balancer) Follow(f func()) (stop func()) {
	own := &follower{built: f}
	b.mu.Lock()
	b.followers = append(slices.Clip(b.followers), own)
	b.mu.Unlock()
	b.changed(false)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.followers = slices.DeleteFunc(slices.Clone(b.followers), func(other *follower) bool { return other == own })
	}
}
