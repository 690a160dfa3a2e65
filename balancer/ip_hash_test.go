package balancer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/balancer"
)

func user(addr string) *balancer.Info {
	return &balancer.Info{Context: balancer.WithClientIP(context.Background(), netip.MustParseAddr(addr))}
}

func keyed(key string) *balancer.Info {
	return &balancer.Info{Context: balancer.WithHashKey(context.Background(), key)}
}

// Whatever changes this table moves the users of everybody who updates Fairlead,
// and splits them while some processes have the old version.
var goldenUsers = []string{"10.0.0.1", "10.0.0.2", "192.0.2.77", "198.51.100.3", "203.0.113.9", "2001:db8::1", "2001:db8:0:1::1", "fe80::1", "::ffff:10.0.0.1"}

var goldenFleets = []struct {
	name string
	n    int
	w    func(int) int
	want string
}{
	{"rendezvous", 5, even, "0 1 4 4 3 1 1 4 0 1"},
	{"rendezvous, weighted", 5, uneven, "3 4 4 4 3 1 3 4 4 4"},
	{"sixteen", 16, even, "9 13 5 9 6 10 13 4 6 13"},
	{"Maglev", 17, even, "4 16 11 4 16 1 6 15 6 16"},
	{"Maglev, weighted", 100, uneven, "60 66 11 97 16 72 40 68 38 66"},
	{"Maglev, large table", 7000, even, "2816 6148 4368 3988 4166 6109 4280 2252 293 6148"},
}

func assignments(t *testing.T, n int, weight func(int) int) string {
	t.Helper()
	b := start(t, balancer.Config{Policy: balancer.IPHash()}, fleet(n, weight))
	infos := []*balancer.Info{keyed("a session")}
	for _, u := range goldenUsers {
		infos = append(infos, user(u))
	}
	var ids []string
	for _, info := range infos {
		number, err := strconv.Atoi(strings.TrimPrefix(once(t, b, info, success), "e"))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, strconv.Itoa(number))
	}
	return strings.Join(ids, " ")
}

func TestIPHashGolden(t *testing.T) {
	for _, tt := range goldenFleets {
		t.Run(tt.name, func(t *testing.T) {
			if got := assignments(t, tt.n, tt.w); got != tt.want {
				t.Errorf("assignments are\n%q, want\n%q", got, tt.want)
			}
		})
	}
}

const printAssignments = "FAIRLEAD_TEST_PRINT_ASSIGNMENTS"

// Another process, with other seeds in its maps and hashes, agrees.
func TestIPHashIsTheSameInAnotherProcess(t *testing.T) {
	var mine strings.Builder
	for _, tt := range goldenFleets {
		fmt.Fprintln(&mine, assignments(t, tt.n, tt.w))
	}
	if os.Getenv(printAssignments) != "" {
		if err := os.WriteFile(os.Getenv(printAssignments), []byte(mine.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	file := t.TempDir() + "/assignments"
	cmd := exec.Command(os.Args[0], "-test.run=^TestIPHashIsTheSameInAnotherProcess$")
	cmd.Env = append(os.Environ(), printAssignments+"="+file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	theirs, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mine.String(), string(theirs)); diff != "" {
		t.Errorf("another process disagrees (-mine +theirs):\n%s", diff)
	}
}

// homes returns the node of each of many users.
func homes(t *testing.T, b *balancer.Balancer, users int) []string {
	t.Helper()
	random := rand.New(rand.NewPCG(11, 12))
	ids := make([]string, users)
	for i := range ids {
		info := &balancer.Info{Context: balancer.WithClientIP(context.Background(), randomIPv4(random))}
		ids[i] = once(t, b, info, success)
	}
	return ids
}

func TestIPHashMovesOnlyTheUsersOfANodeThatLeaves(t *testing.T) {
	for _, tt := range []struct {
		name   string
		n      int
		weight func(int) int
		others float64 // share of the other users that may move
	}{
		{"two", 2, even, 0},
		{"five", 5, even, 0},
		{"sixteen", 16, even, 0},
		{"five, weighted", 5, uneven, 0},
		{"sixteen, weighted", 16, uneven, 0},
		{"even but for the one that leaves", 5, func(i int) int { return 1 + i/2%2*i/2 }, 0},
		{"Maglev, forty", 40, even, 0.05},
		{"Maglev, forty, weighted", 40, uneven, 0.08},
		{"Maglev, a thousand", 1000, even, 0.05},
	} {
		t.Run(tt.name, func(t *testing.T) {
			endpoints := fleet(tt.n, tt.weight)
			b := start(t, balancer.Config{Policy: balancer.IPHash()}, endpoints)
			before := homes(t, b, 20_000)
			gone := endpoints[tt.n/2].ID
			update(t, b, append(endpoints[:tt.n/2:tt.n/2], endpoints[tt.n/2+1:]...))
			moved, stayed := 0, 0
			for i, id := range homes(t, b, 20_000) {
				switch before[i] {
				case gone:
				case id:
					stayed++
				default:
					moved++
				}
			}
			share := float64(moved) / float64(moved+stayed)
			t.Logf("%.4f of the other users moved", share)
			if share > tt.others {
				t.Errorf("%.4f of the other users moved, want at most %v", share, tt.others)
			}
		})
	}
}

// From rendezvous to Maglev all may move; a table is made anew only when members
// or weights change.
func TestIPHashUsersComeBack(t *testing.T) {
	for _, policy := range []balancer.Policy{balancer.IPHash(), balancer.IPHash(balancer.NginxHash)} {
		for _, n := range []int{3, 16, 17, 200} {
			t.Run(fmt.Sprintf("%s/%d", policy.Name(), n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newGates(t)
					b := balancer.New(balancer.Config{Policy: policy, Join: g.join})
					defer b.Close()
					update(t, b, fleet(n, uneven))
					settle()
					before := homes(t, b, 3000)
					ill := before[0]
					g.at(ill).set(balancer.Refusing)
					settle()
					for i, id := range homes(t, b, 3000) {
						if id == ill {
							t.Fatalf("user %d was sent to %q, which is not ready", i, ill)
						}
						if id != before[i] && before[i] != ill {
							t.Fatalf("user %d moved from %q to %q although %q is what is not ready", i, before[i], id, ill)
						}
					}
					g.at(ill).set(balancer.Admitting)
					settle()
					if diff := cmp.Diff(before, homes(t, b, 3000)); diff != "" {
						t.Errorf("not all users came back:\n%s", diff)
					}
				})
			})
		}
	}
}

// settle lets all merged builds happen.
func settle() {
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

func TestIPHashStaysWithTheFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGates(t)
		b := balancer.New(balancer.Config{Policy: balancer.IPHash(), Join: g.join})
		defer b.Close()
		update(t, b, fleet(200, even))
		for i, n := range b.Nodes() {
			if i%66 != 0 {
				g.at(n.ID()).set(balancer.Refusing)
			}
		}
		settle()
		first := homes(t, b, 2000)
		if diff := cmp.Diff(first, homes(t, b, 2000)); diff != "" {
			t.Errorf("four of 200 are ready, and users do not stay with theirs:\n%s", diff)
		}
		counts, want := map[string]int{}, map[string]float64{}
		for _, id := range first {
			counts[id]++
		}
		for _, n := range b.Nodes() {
			if n.Ready() {
				want[n.ID()] = 1
			}
		}
		checkShares(t, counts, want)
	})
}

func TestIPHashKeys(t *testing.T) {
	b := start(t, balancer.Config{Policy: balancer.IPHash()}, fleet(16, even))
	t.Run("an IPv6 user is a /64", func(t *testing.T) {
		home := once(t, b, user("2001:db8:1:2::1"), success)
		other := false
		for i := range 100 {
			if id := once(t, b, user(fmt.Sprintf("2001:db8:1:2:%x::%x", i*7, i+2)), success); id != home {
				t.Fatalf("one /64 is spread over %q and %q", home, id)
			}
			other = other || once(t, b, user(fmt.Sprintf("2001:db8:1:%x::1", i+3)), success) != home
		}
		if !other {
			t.Error("100 different /64 all went to one node")
		}
	})
	t.Run("a mapped or zoned address is the plain one", func(t *testing.T) {
		for a, b6 := range map[string]string{"192.0.2.1": "::ffff:192.0.2.1", "fe80::1": "fe80::1%eth0"} {
			if x, y := once(t, b, user(a), success), once(t, b, user(b6), success); x != y {
				t.Errorf("%s went to %q, %s to %q", a, x, b6, y)
			}
		}
	})
	t.Run("the key of a hash", func(t *testing.T) {
		seen := map[string]bool{}
		for i := range 100 {
			key := fmt.Sprint("key ", i)
			home := once(t, b, keyed(key), success)
			seen[home] = true
			if id := once(t, b, keyed(key), success); id != home {
				t.Fatalf("%q went to %q and %q", key, home, id)
			}
		}
		if len(seen) != 16 {
			t.Errorf("100 keys went to %d of 16 nodes", len(seen))
		}
	})
	t.Run("the address goes before the key", func(t *testing.T) {
		home := once(t, b, user("192.0.2.1"), success)
		for i := range 50 {
			info := user("192.0.2.1")
			info.Context = balancer.WithHashKey(info.Context, fmt.Sprint(i))
			if id := once(t, b, info, success); id != home {
				t.Fatalf("went to %q, want %q", id, home)
			}
		}
	})
	for name, ctx := range map[string]context.Context{
		"no context":         nil,
		"a context without":  context.Background(),
		"an invalid address": balancer.WithClientIP(context.Background(), netip.Addr{}),
		"an empty key":       balancer.WithHashKey(context.Background(), ""),
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			for range 500 {
				l := pick(t, b, &balancer.Info{Context: ctx})
				seen[l.Node().ID()] = true
				if l.Reason() != balancer.ReasonNoKey {
					t.Fatalf("Reason is %q, want %q", l.Reason(), balancer.ReasonNoKey)
				}
				l.Release()
			}
			if len(seen) < 14 { // those with many users have had their turn
				t.Errorf("500 picks without a key reached %d of 16 nodes", len(seen))
			}
		})
	}
}

func TestIPHashMaglevShares(t *testing.T) {
	for _, tt := range []struct {
		name   string
		weight func(int) int
	}{{"even", even}, {"weighted", uneven}} {
		t.Run(tt.name, func(t *testing.T) {
			b := start(t, balancer.Config{Policy: balancer.IPHash()}, fleet(40, tt.weight))
			counts, want := map[string]int{}, map[string]float64{}
			for info := range infos(true, 60_000) {
				counts[once(t, b, info, success)]++
			}
			for _, n := range b.Nodes() {
				want[n.ID()] = float64(n.Weight())
			}
			checkShares(t, counts, want)
		})
	}
}

// nginxIPHash is what nginx does, for the first try that is not refused.
func nginxIPHash(octets []byte, weights []int, refused map[int]bool) int {
	total := 0
	for _, w := range weights {
		total += w
	}
	hash := 89
	for range 21 {
		for _, o := range octets {
			hash = (hash*113 + int(o)) % 6271
		}
		w, p := hash%total, 0
		for w >= weights[p] {
			w -= weights[p]
			p++
		}
		if !refused[p] {
			return p
		}
	}
	return -1
}

func TestIPHashAsNginx(t *testing.T) {
	policy := balancer.IPHash(balancer.NginxHash)
	for _, tt := range []struct {
		name    string
		weights []int
		refused map[int]bool
	}{
		{"three", []int{1, 1, 1}, nil},
		{"weighted", []int{5, 1, 3, 2}, nil},
		{"one refuses", []int{1, 1, 1}, map[int]bool{1: true}},
		{"all but one refuse, weighted", []int{5, 1, 3, 2}, map[int]bool{0: true, 2: true, 3: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGates(t)
				b := balancer.New(balancer.Config{Policy: policy, Join: g.join})
				defer b.Close()
				update(t, b, weighted(tt.weights...))
				for i := range tt.refused {
					g.at(string(rune('a' + i))).set(balancer.Refusing)
				}
				settle()
				random := rand.New(rand.NewPCG(5, 6))
				for range 500 {
					addr := randomIPv4(random)
					octets := addr.As4()
					key := octets[:3]
					if random.IntN(4) == 0 {
						long := [16]byte{0x20, 1, 0xd, 0xb8, byte(random.Uint32()), 5: 1, 15: byte(random.Uint32())}
						addr, key = netip.AddrFrom16(long), long[:]
					}
					want := nginxIPHash(key, tt.weights, tt.refused)
					l := pick(t, b, &balancer.Info{Context: balancer.WithClientIP(context.Background(), addr)})
					if want < 0 {
						if l.Reason() != "hash, tries used up" {
							t.Errorf("%v: Reason is %q, nginx's tries are used up", addr, l.Reason())
						}
					} else if got := l.Node().ID(); got != string(rune('a'+want)) {
						t.Errorf("%v went to %q, nginx sends it to %q", addr, got, rune('a'+want))
					}
					l.Release()
				}
			})
		})
	}
	t.Run("a draining endpoint keeps its place", func(t *testing.T) {
		endpoints := weighted(1, 1, 1, 1)
		b := start(t, balancer.Config{Policy: policy}, endpoints)
		before := homes(t, b, 500)
		endpoints[2].Drain = true
		update(t, b, endpoints)
		for i, id := range homes(t, b, 500) {
			if id == "c" || id != before[i] && before[i] != "c" {
				t.Fatalf("user %d went from %q to %q", i, before[i], id)
			}
		}
	})
	t.Run("one network is one user", func(t *testing.T) {
		b := start(t, balancer.Config{Policy: policy}, fleet(16, even))
		home := once(t, b, user("192.0.2.1"), success)
		for i := range 200 {
			if id := once(t, b, user(fmt.Sprint("192.0.2.", i)), success); id != home {
				t.Fatalf("192.0.2.%d went to %q, 192.0.2.1 to %q", i, id, home)
			}
		}
	})
	t.Run("a key, or none", func(t *testing.T) {
		b := start(t, balancer.Config{Policy: policy}, weighted(1, 1, 1))
		want := string(rune('a' + nginxIPHash([]byte("session"), []int{1, 1, 1}, nil)))
		if got := once(t, b, keyed("session"), success); got != want {
			t.Errorf("the key went to %q, want %q", got, want)
		}
		l := pick(t, b, &balancer.Info{})
		defer l.Release()
		if l.Reason() != balancer.ReasonNoKey {
			t.Errorf("Reason is %q, want %q", l.Reason(), balancer.ReasonNoKey)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		b := start(t, balancer.Config{Policy: policy}, nil)
		if _, err := b.Pick(user("192.0.2.1")); !errors.Is(err, balancer.ErrNoEndpoints) {
			t.Errorf("error is %v, want %v", err, balancer.ErrNoEndpoints)
		}
	})
}
