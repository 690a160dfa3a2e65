package balancer_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
)

// snapshotsOf reads snapshots from arbitrary bytes: lines of "id addr weight
// drain", with an empty line between snapshots. Nothing is checked on the way.
func snapshotsOf(data string) [][]discovery.Endpoint {
	var snapshots [][]discovery.Endpoint
	for text := range strings.SplitSeq(data, "\n\n") {
		var endpoints []discovery.Endpoint
		for line := range strings.SplitSeq(text, "\n") {
			fields := strings.Split(line, " ")
			fields = append(fields, "", "", "", "")
			var weight [8]byte
			copy(weight[:], fields[2])
			e := discovery.Endpoint{ID: fields[0], Addr: fields[1], Weight: int(int64(binary.LittleEndian.Uint64(weight[:]))), Drain: fields[3] == "d"}
			if len(fields[2]) < 8 {
				fmt.Sscan(fields[2], &e.Weight)
			}
			endpoints = append(endpoints, e)
		}
		snapshots = append(snapshots, endpoints)
	}
	return snapshots
}

// FuzzUpdate feeds a Balancer of each policy with snapshots from outside.
func FuzzUpdate(f *testing.F) {
	f.Add("a 10.0.0.1:80 1\nb 10.0.0.2:80 2\n\na 10.0.0.1:80 3\nb 10.0.0.3:80 2 d")
	f.Add("x h:1 1000000\ny h:2 1\nz h:3 999999")
	f.Add("x h:1 -1\nx h:1 1\nx h:2 1\n h:1\n\n\n")
	f.Add(" [::1]:80 5\n ::1:80\na\nb \nc :80\nd h:99999")
	f.Add("\xff\x00 h:1 \xff\xff\xff\xff\xff\xff\xff\x7f\nx h:2 \x00\x00\x00\x00\x00\x00\x00\x80")
	f.Add(strings.Repeat("a h:1 9\nb h:2 7\nc h:3 1000000\n", 7) + "d h:4 0 d")
	policies := allPolicies()
	f.Fuzz(func(t *testing.T, data string) {
		snapshots := snapshotsOf(data[:min(len(data), 4096)])
		for _, policy := range policies {
			joined, left := map[*balancer.Node]int{}, map[*balancer.Node]int{}
			b := balancer.New(balancer.Config{
				Policy: policy,
				Join:   func(n *balancer.Node) (any, []balancer.Gate) { joined[n]++; return nil, nil },
				Leave:  func(n *balancer.Node) { left[n]++ },
			})
			for _, endpoints := range snapshots {
				checkUpdate(t, b, endpoints)
			}
			b.Close()
			for n, times := range joined {
				if times != 1 || left[n] == 0 {
					t.Errorf("%s: node %q joined %d times and left %d times", policy.Name(), n.ID(), times, left[n])
				}
			}
		}
	})
}

func checkUpdate(t *testing.T, b *balancer.Balancer, endpoints []discovery.Endpoint) {
	t.Helper()
	err := b.Update(endpoints)
	nodes := b.Nodes()
	if len(nodes) > len(endpoints) {
		t.Fatalf("%d nodes for %d endpoints", len(nodes), len(endpoints))
	}
	if !slices.IsSortedFunc(nodes, func(x, y *balancer.Node) int { return strings.Compare(x.ID(), y.ID()) }) {
		t.Error("nodes are not ordered by ID")
	}
	open, seen := 0, map[string]bool{}
	for _, n := range nodes {
		e := n.Endpoint()
		if seen[n.ID()] {
			t.Errorf("two nodes have the ID %q", n.ID())
		}
		seen[n.ID()] = true
		if e.Validate() != nil || e.Identity() != n.ID() || e.Addr != n.Addr() || n.Weight() < 1 || n.InFlight() != 0 {
			t.Errorf("node %q at %q holds %+v with %d calls in flight", n.ID(), n.Addr(), e, n.InFlight())
		}
		if !slices.ContainsFunc(endpoints, e.Equal) {
			t.Errorf("node %q holds %+v, which the snapshot does not name", n.ID(), e)
		}
		if !e.Drain {
			open++
		}
	}
	for _, e := range endpoints {
		if e.Validate() == nil && !seen[e.Identity()] {
			t.Errorf("%+v is well formed and has no node", e)
		} else if e.Validate() != nil && err == nil {
			t.Errorf("%+v is malformed and no error says so", e)
		}
	}
	for range 3 {
		l, err := b.Pick(user("192.0.2.1"))
		switch {
		case open == 0:
			if !errors.Is(err, balancer.ErrNoEndpoints) {
				t.Errorf("nobody takes calls: error is %v, want ErrNoEndpoints", err)
			}
		case err != nil:
			t.Errorf("%d nodes take calls, and Pick says %v", open, err)
		case !seen[l.Node().ID()]:
			t.Errorf("picked %q, which is no member", l.Node().ID())
		}
		l.Report(success)
		l.Release()
	}
}
