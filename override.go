package fairlead

import (
	"context"
	"time"
)

// Override changes what one call does. It travels in the call's context; see
// [WithOverride]. The zero value changes nothing.
type Override struct {
	// Retry says whether the call may be repeated although an endpoint may have
	// acted on it, whatever its method.
	Retry RetryOverride

	// AttemptTimeout replaces the service's attempt timeout. 0 means the
	// service's; negative means none.
	AttemptTimeout time.Duration

	// Endpoint is the ID of the only endpoint that may be called. Empty means
	// any. It is called also while it drains or cools; its breaker still applies.
	Endpoint string
}

// RetryOverride says whether one call may be repeated.
type RetryOverride uint8

// The retry overrides.
const (
	RetryAsConfigured RetryOverride = iota // by method, header and configuration
	RetryAllowed                           // the caller says it is safe
	RetryForbidden                         // never by us, not even if no endpoint acted on it
)

type overrideKey struct{}

// WithOverride returns a context whose calls are made with o. It replaces an
// override that ctx has already.
func WithOverride(ctx context.Context, o Override) context.Context {
	return context.WithValue(ctx, overrideKey{}, &o)
}

var noOverride Override

// overrideFrom returns the override in ctx, never nil.
func overrideFrom(ctx context.Context) *Override {
	if o, ok := ctx.Value(overrideKey{}).(*Override); ok {
		return o
	}
	return &noOverride
}
