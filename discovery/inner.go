package discovery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
)

var (
	errNoResolver = errors.New("discovery: the resolver is nil, want one such as discovery.Services")
	errNoSequence = errors.New("discovery: the resolver's Watch returned nil, want a sequence")
)

// sequence returns r's sequence, or one that says why there is none.
func sequence(ctx context.Context, r Resolver, service string) iter.Seq2[Snapshot, error] {
	if isNil(r) {
		return failed(errNoResolver)
	}
	if s := r.Watch(ctx, service); s != nil {
		return s
	}
	return failed(errNoSequence)
}

func failed(err error) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) { yield(Snapshot{}, err) }
}

// refuse yields why nothing will ever come and waits for ctx to end: a reader
// who is not told to wait watches again and again.
func refuse(ctx context.Context, s Snapshot, err error, yield func(Snapshot, error) bool) {
	if yield(s, err) {
		<-ctx.Done()
	}
}

// refreshInner passes a Refresh on to a resolver that takes it.
func refreshInner(r Resolver, service string) {
	if f, ok := r.(Refresher); ok && !isNil(r) {
		f.Refresh(service)
	}
}

// validateInner returns the mistakes of a wrapped resolver, under the name
// that it has in its wrapper.
func validateInner(name string, r Resolver) error {
	if isNil(r) {
		return fmt.Errorf("discovery: %s is nil, want a resolver such as discovery.Services", name)
	}
	if v, ok := r.(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return fmt.Errorf("discovery: %s: %w", name, err)
		}
	}
	return nil
}

// isNil also finds the nil pointer or map in an interface.
func isNil(r Resolver) bool {
	if r == nil {
		return true
	}
	switch v := reflect.ValueOf(r); v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Slice, reflect.Chan:
		return v.IsNil()
	}
	return false
}
