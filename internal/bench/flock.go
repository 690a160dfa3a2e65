package main

// flockSize is how many Balancers wait at a time.
const flockSize = 16

// flock is many Balancers of the same endpoints, of each of which the readiness of
// one changes.
type flock struct {
	members []*gated
	refused [flockSize]bool
	flipped string
}

func newFlock(p named, addrs []string) (*flock, error) {
	f := &flock{flipped: addrs[len(addrs)/2]}
	for range flockSize {
		g := newGated(p.policy)
		if err := g.update(fleetOf(addrs, p.weight)); err != nil {
			f.close()
			return nil, err
		}
		f.members = append(f.members, g)
	}
	return f, nil
}

// work flips n times, each member once before any twice.
func (f *flock) work(n int) error {
	for n > 0 {
		some := min(n, flockSize)
		for i := range some {
			f.refused[i] = !f.refused[i]
			f.members[i].flip(f.flipped, f.refused[i])
		}
		for i := range some {
			if err := f.members[i].await(f.refused[i]); err != nil {
				return err
			}
		}
		n -= some
	}
	return nil
}

// turn flips the first member.
func (f *flock) turn(refuse bool) error {
	f.refused[0] = refuse
	f.members[0].flip(f.flipped, refuse)
	return f.members[0].await(refuse)
}

func (f *flock) close() {
	for _, g := range f.members {
		g.Close()
	}
}
