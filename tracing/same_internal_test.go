package tracing

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/propagation"
)

// foreign is a composite that is not OpenTelemetry's.
type foreign []propagation.TextMapPropagator

func (foreign) Inject(context.Context, propagation.TextMapCarrier) {}

func (foreign) Extract(ctx context.Context, _ propagation.TextMapCarrier) context.Context { return ctx }

func (foreign) Fields() []string { return nil }

func TestSame(t *testing.T) {
	pointer, slice := &struct{ n int }{1}, any([]int{1})
	boxed := any(struct{ a, b int }{1, 2})
	for _, tt := range []struct {
		name string
		a, b any
		want bool
	}{
		{"nothing", nil, nil, true},
		{"nothing and something", nil, 1, false},
		{"a pointer", pointer, pointer, true},
		{"another of its type", pointer, &struct{ n int }{1}, false},
		{"a struct", boxed, boxed, true},
		{"one of no size", propagation.TraceContext{}, propagation.TraceContext{}, true},
		{"another type of no size", propagation.TraceContext{}, propagation.Baggage{}, false},
		{"what cannot be compared", slice, slice, true},
		{"another of that", slice, []int{1}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := same(&tt.a, tt.b); got != tt.want {
				t.Errorf("same is %v, want %v", got, tt.want)
			}
		})
	}
	var one, other error
	if !same(&one, other) {
		t.Error("two nil errors are not the same")
	}
}

func TestIsW3C(t *testing.T) {
	composite := propagation.NewCompositeTextMapPropagator
	for _, tt := range []struct {
		name string
		p    propagation.TextMapPropagator
		want bool
	}{
		{"trace context", propagation.TraceContext{}, true},
		{"none", composite(), true},
		{"both", w3c, true},
		{"a composite of a composite", composite(w3c, propagation.Baggage{}), true},
		{"another in it", composite(propagation.TraceContext{}, foreign{}), false},
		{"another deep in it", composite(composite(foreign{})), false},
		{"another's composite", foreign{propagation.TraceContext{}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := isW3C(tt.p); got != tt.want {
				t.Errorf("isW3C is %v, want %v", got, tt.want)
			}
		})
	}
}
