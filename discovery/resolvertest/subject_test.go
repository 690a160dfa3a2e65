package resolvertest_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/discovery/resolvertest"
)

func TestSubjectIsChecked(t *testing.T) {
	set := func(...discovery.Endpoint) error { return nil }
	for _, tt := range []struct {
		name string
		s    resolvertest.Subject
		want string // empty: it is in order
	}{
		{"no resolver", resolvertest.Subject{Set: set}, "Resolver is nil"},
		{"neither", resolvertest.Subject{Resolver: newSource()}, "neither Subject.Set nor Subject.Fixed"},
		{"both", resolvertest.Subject{Resolver: newSource(), Set: set, Fixed: discovery.Addrs("a:1")}, "Subject.Set and Subject.Fixed"},
		{"negative time", resolvertest.Subject{Resolver: newSource(), Set: set, Within: -1}, "Within is -1ns"},
		{"few endpoints", resolvertest.Subject{Resolver: newSource(), Set: set, Endpoints: discovery.Addrs("a:1", "b:1")}, "2 elements"},
		{"bad endpoints", resolvertest.Subject{Resolver: newSource(), Set: set, Endpoints: discovery.Addrs("a:1", "b:1", "a:1")}, "twice"},
		{"bad fixed endpoints", resolvertest.Subject{Resolver: newSource(), Fixed: discovery.Addrs("a")}, "host:port"},
		{"fine", resolvertest.Subject{Resolver: newSource(), Set: set}, ""},
	} {
		_, err := resolvertest.Lacking(tt.s)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one that says %q", tt.name, err, tt.want)
		}
	}
}

func TestWhatCannotBeTestedIsNot(t *testing.T) {
	src := newSource()
	every := src.subject(refresher{src, func() {}})
	for _, tt := range []struct {
		name   string
		change func(*resolvertest.Subject)
		want   []string
	}{
		{"nothing lacks", func(*resolvertest.Subject) {}, nil},
		{"fixed", func(s *resolvertest.Subject) { s.Set, s.Fixed = nil, discovery.Addrs("a:1") },
			[]string{join, leave, replacement, weight, equal, immutable, empty, lastSet, recovery, saidAgain}},
		{"no unknown name", func(s *resolvertest.Subject) { s.Unknown = "" }, []string{neverHeard}},
		{"no failure", func(s *resolvertest.Subject) { s.Fail = nil }, []string{lastSet, recovery, saidAgain}},
		{"no refresh", func(s *resolvertest.Subject) { s.Resolver = src }, []string{refresh}},
		{"no weights", func(s *resolvertest.Subject) {
			s.Same = func(a, b discovery.Endpoint) bool { return a.Addr == b.Addr }
		}, []string{weight}},
	} {
		s := every
		tt.change(&s)
		lacking, err := resolvertest.Lacking(s)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(tt.want)), slices.Sorted(maps.Keys(lacking))); diff != "" {
			t.Errorf("%s: not tested (-want +got):\n%s", tt.name, diff)
		}
	}
}

// What a Resolver keeps until its Close must not grow with each watch.
func TestClose(t *testing.T) {
	for _, tt := range []struct {
		name  string
		each  bool // watch leaves a goroutine, not only the first
		close bool // they end at Close
		want  []string
	}{
		{"kept until Close", false, true, nil},
		{"kept for ever", false, false, []string{goroutines}},
		{"grows until Close", true, true, []string{goroutines}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var release chan struct{}
			reports := resolvertest.Broken(t, func() resolvertest.Subject {
				src, closed := newSource(), make(chan struct{})
				var first, once sync.Once
				s := src.subject(watchFunc(func(ctx context.Context, service string) sequence {
					keep := func() {
						go func(release <-chan struct{}) {
							select {
							case <-closed:
							case <-release:
							}
						}(release)
					}
					if tt.each {
						keep()
					} else {
						first.Do(keep)
					}
					return src.Watch(ctx, service)
				}))
				s.Close = func() error {
					if tt.close {
						once.Do(func() { close(closed) })
					}
					return nil
				}
				return s
			}, func(_ string, check func(context.Context) error) {
				synctest.Test(t, func(t *testing.T) {
					release = make(chan struct{})
					_ = check(t.Context())
					close(release)
					time.Sleep(time.Minute)
				})
			})
			if diff := cmp.Diff(tt.want, slices.Sorted(maps.Keys(reports))); diff != "" {
				t.Errorf("rules that report (-want +got):\n%s\n%v", diff, reports)
			}
		})
	}
}

// However broken a Resolver is, the suite reports and goes on.
func TestHopeless(t *testing.T) {
	for name, watch := range map[string]watchFunc{
		"Watch returns nil": func(context.Context, string) sequence { return nil },
		"Watch panics":      func(context.Context, string) sequence { panic("Watch") },
		"the sequence panics": func(context.Context, string) sequence {
			return func(yield) { panic("the sequence") }
		},
		"the sequence says nothing": func(ctx context.Context, _ string) sequence {
			return func(yield) { <-ctx.Done() }
		},
		"the sequence is over at once": func(context.Context, string) sequence {
			return func(yield) {}
		},
		"the sequence never rests": func(context.Context, string) sequence {
			return func(yield yield) {
				for yield(snapshot{}, nil) {
					continue
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			reports := resolvertest.Broken(t, func() resolvertest.Subject {
				src := newSource()
				return src.subject(watch)
			}, func(_ string, check func(context.Context) error) {
				synctest.Test(t, func(t *testing.T) {
					_ = check(t.Context())
					time.Sleep(time.Minute)
				})
			})
			if reports[first] == nil || len(reports) < 5 {
				t.Errorf("reports %v, want that of the first snapshot and others", reports)
			}
		})
	}
}
