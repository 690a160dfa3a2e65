package fairlead

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/balancer/health"
	"github.com/fairlead-go/fairlead/breaker"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
	"github.com/fairlead-go/fairlead/tracing"
)

// Option is a choice made when a [Mesh] is made.
type Option interface {
	apply(*options) error
}

// ServiceOption is a choice that can be made for one service with [ForService].
// As an Option it is the default for all services.
type ServiceOption interface {
	Option
	applyService(*settings) error
}

// options are a Mesh's own; settings are those of its services.
type options struct {
	defaults    settings
	perService  map[string][]ServiceOption
	fallback    http.RoundTripper
	tracing     tracing.Config
	logger      *slog.Logger
	maxServices int
	idleAfter   time.Duration
	maxIdle     int // connections
}

// settings are what is chosen per service.
type settings struct {
	policy            balancer.Policy
	breaker           *breaker.Config // nil: none
	retry             retry.Config
	timeout           time.Duration
	classify          Classifier // nil: Classify
	tls               *tls.Config
	adjust            []func(*http.Transport)
	endpointTransport func(service string, e discovery.Endpoint) (http.RoundTripper, error)
	middleware        []func(http.RoundTripper) http.RoundTripper
	attemptMiddleware []func(http.RoundTripper) http.RoundTripper
	holdEmpty         time.Duration
	forwarded         bool // the end user's address is taken from a header
	trustedHops       int
	hedge             *retry.Hedge // nil: none
	check             *health.Check
	ejection          *health.Ejection
	limit             *breaker.Limit  // nil: none
	throttle          *retry.Throttle // nil: none
	fallback          Fallback        // nil: none
}

const (
	defaultMaxServices = 1000
	defaultIdleAfter   = 10 * time.Minute
	defaultHoldEmpty   = 30 * time.Second
)

func newOptions(opts []Option) (*options, error) {
	o := &options{
		defaults: settings{
			policy:    balancer.P2C(),
			breaker:   &breaker.Config{},
			holdEmpty: defaultHoldEmpty,
		},
		perService:  make(map[string][]ServiceOption),
		logger:      slog.Default(),
		maxServices: defaultMaxServices,
		idleAfter:   defaultIdleAfter,
		maxIdle:     defaultMaxIdle(),
	}
	var errs []error
	for i, opt := range opts {
		if isNil(opt) {
			errs = append(errs, fmt.Errorf("fairlead: option %d is nil, want an Option", i))
			continue
		}
		errs = append(errs, opt.apply(o))
	}
	for _, name := range slices.Sorted(maps.Keys(o.perService)) {
		if _, err := o.forService(name); err != nil {
			errs = append(errs, fmt.Errorf("fairlead: service %q: %w", name, err))
		}
	}
	return o, errors.Join(errs...)
}

// forService returns the settings of one service.
func (o *options) forService(name string) (settings, error) {
	s := o.defaults
	s.adjust = slices.Clip(s.adjust)
	s.middleware = slices.Clip(s.middleware)
	s.attemptMiddleware = slices.Clip(s.attemptMiddleware)
	var errs []error
	for _, opt := range o.perService[name] {
		errs = append(errs, opt.applyService(&s))
	}
	return s, errors.Join(errs...)
}

type meshOption func(*options) error

func (f meshOption) apply(o *options) error { return f(o) }

type serviceOption func(*settings) error

func (f serviceOption) apply(o *options) error         { return f(&o.defaults) }
func (f serviceOption) applyService(s *settings) error { return f(s) }

// ForService makes choices for one service. They are applied after the defaults
// for all services, wherever they stand in the list.
func ForService(name string, opts ...ServiceOption) Option {
	return meshOption(func(o *options) error {
		key, err := serviceName(name)
		if err != nil {
			return fmt.Errorf("fairlead: ForService(%q): %s", name, strings.TrimPrefix(err.Error(), "fairlead: "))
		}
		for i, opt := range opts {
			if isNil(opt) {
				return fmt.Errorf("fairlead: ForService(%q): option %d is nil, want a ServiceOption", name, i)
			}
		}
		o.perService[key] = append(o.perService[key], opts...)
		return nil
	})
}

// WithBalancer chooses the policy. The default is balancer.P2C().
func WithBalancer(p balancer.Policy) ServiceOption {
	return serviceOption(func(s *settings) error {
		if isNil(p) {
			return errors.New("fairlead: WithBalancer: the policy is nil, want one such as balancer.RoundRobin()")
		}
		s.policy = p
		return nil
	})
}

// WithBreaker sets when the breaker of each endpoint opens, and for how long.
// The default is breaker.Config{}.
func WithBreaker(c breaker.Config) ServiceOption {
	return serviceOption(func(s *settings) error {
		if _, err := c.WithDefaults(); err != nil {
			return fmt.Errorf("fairlead: WithBreaker: %w", err)
		}
		s.breaker = &c
		return nil
	})
}

// WithoutBreaker does without breakers: no endpoint is taken out for failing.
// Cooling still applies.
func WithoutBreaker() ServiceOption {
	return serviceOption(func(s *settings) error {
		s.breaker = nil
		return nil
	})
}

// WithRetry sets what is retried, how often and how soon. The default is
// retry.Config{}. Inside [ForService] it replaces the whole of the default for all
// services, the attempt timeout included.
func WithRetry(c retry.Config) ServiceOption {
	return serviceOption(func(s *settings) error {
		if _, err := c.WithDefaults(); err != nil {
			return fmt.Errorf("fairlead: WithRetry: %w", err)
		}
		s.retry = c
		return nil
	})
}

// WithoutRetry gives every call one attempt, and one more where [WithHedge] sends it.
// An attempt timeout set before stays. Since no call can be retried elsewhere, a
// half-open endpoint waits for its probe for ten seconds while others are ready.
func WithoutRetry() ServiceOption {
	return serviceOption(func(s *settings) error {
		s.retry.Attempts = 1
		return nil
	})
}

// WithTimeout bounds a whole call: of HTTP from RoundTrip to the end of the
// answer's body, of gRPC a unary one, while streams have no bound. The default is 0, no bound, as in net/http: set one, or give each
// request's context a deadline.
func WithTimeout(d time.Duration) ServiceOption {
	return serviceOption(func(s *settings) error {
		if d < 0 {
			return fmt.Errorf("fairlead: WithTimeout is %v, want more than 0, or 0 (meaning none)", d)
		}
		s.timeout = d
		return nil
	})
}

// WithClassifier replaces [Classify], which says what became of an attempt.
func WithClassifier(c Classifier) ServiceOption {
	return serviceOption(func(s *settings) error {
		if c == nil {
			return errors.New("fairlead: WithClassifier: the classifier is nil, want a function such as fairlead.Classify")
		}
		s.classify = c
		return nil
	})
}

// WithTLS sets the TLS configuration for https URLs. ServerName, when empty, is
// the host of the URL. The default is that of package crypto/tls. c must not be
// changed afterwards.
func WithTLS(c *tls.Config) ServiceOption {
	return serviceOption(func(s *settings) error {
		if c == nil {
			return errors.New("fairlead: WithTLS: the configuration is nil, want a *tls.Config")
		}
		s.tls = c
		return nil
	})
}

// WithTransport adjusts the transport of each endpoint, once, when it is made:
// limits, timeouts, protocols (h2c among them). Several adjustments are applied
// one after the other. DialContext is given the endpoint's address to dial; a
// DialTLSContext of its own does the TLS handshake too. NextProtos is set by the
// protocols; Proxy must stay nil.
func WithTransport(adjust func(*http.Transport)) ServiceOption {
	return serviceOption(func(s *settings) error {
		if adjust == nil {
			return errors.New("fairlead: WithTransport: the function is nil, want one that adjusts a transport")
		}
		s.adjust = append(s.adjust, adjust)
		return nil
	})
}

// WithEndpointTransport replaces the transport of each endpoint. f is called
// once per endpoint, at its first pick, and again after an error, which counts as
// a failed dial. What it returns must send to that
// endpoint whatever the URL says. It is closed by CloseIdleConnections and
// Close, where it has these methods, when the endpoint leaves. WithTLS,
// WithTransport and the dial before a breaker's probe do not apply to it.
func WithEndpointTransport(f func(service string, e discovery.Endpoint) (http.RoundTripper, error)) ServiceOption {
	return serviceOption(func(s *settings) error {
		if f == nil {
			return errors.New("fairlead: WithEndpointTransport: the function is nil, want one that makes a transport")
		}
		s.endpointTransport = f
		return nil
	})
}

// WithMiddleware puts a RoundTripper around each call, inside its deadline and
// its span, outside its retries. The first one given is the outermost, and those
// for all services are outside of a service's own. A
// middleware may send its request more than once; each time is a call with
// attempts of its own.
func WithMiddleware(m func(http.RoundTripper) http.RoundTripper) ServiceOption {
	return serviceOption(func(s *settings) error {
		if m == nil {
			return errors.New("fairlead: WithMiddleware: the middleware is nil, want a function")
		}
		s.middleware = append(s.middleware, m)
		return nil
	})
}

// WithAttemptMiddleware puts a RoundTripper around each attempt, inside its span
// and its timeout. It is applied once to the transport of each endpoint. With
// [WithHedge], two attempts of a call can be inside it at the same time.
func WithAttemptMiddleware(m func(http.RoundTripper) http.RoundTripper) ServiceOption {
	return serviceOption(func(s *settings) error {
		if m == nil {
			return errors.New("fairlead: WithAttemptMiddleware: the middleware is nil, want a function")
		}
		s.attemptMiddleware = append(s.attemptMiddleware, m)
		return nil
	})
}

// WithEmptyHold sets how long an empty answer of the resolver is not believed
// after one that was not empty. The default is 30 s; 0 believes it at once.
func WithEmptyHold(d time.Duration) ServiceOption {
	return serviceOption(func(s *settings) error {
		if d < 0 {
			return fmt.Errorf("fairlead: WithEmptyHold is %v, want 0 or more", d)
		}
		s.holdEmpty = d
		return nil
	})
}

// WithFallbackTransport sends requests to hosts that the resolver does not know
// through rt. The default is to fail them with [ErrUnknownService].
func WithFallbackTransport(rt http.RoundTripper) Option {
	return meshOption(func(o *options) error {
		if isNil(rt) {
			return errors.New("fairlead: WithFallbackTransport: the transport is nil, want one such as http.DefaultTransport")
		}
		o.fallback = rt
		return nil
	})
}

// WithTracerProvider sets where spans go. The default is OpenTelemetry's global
// provider, which costs next to nothing while nobody has set one.
func WithTracerProvider(p trace.TracerProvider) Option {
	return meshOption(func(o *options) error {
		if isNil(p) {
			return errors.New("fairlead: WithTracerProvider: the provider is nil, want one, or the option left out")
		}
		o.tracing.TracerProvider = p
		return nil
	})
}

// WithMeterProvider sets where metrics go. The default is OpenTelemetry's global
// provider, which costs next to nothing while nobody has set one.
func WithMeterProvider(p metric.MeterProvider) Option {
	return meshOption(func(o *options) error {
		if isNil(p) {
			return errors.New("fairlead: WithMeterProvider: the provider is nil, want one, or the option left out")
		}
		o.tracing.MeterProvider = p
		return nil
	})
}

// WithPropagator sets how the trace context is written into requests. The
// default is OpenTelemetry's global propagator, or W3C Trace Context and Baggage
// where nobody has set one.
func WithPropagator(p propagation.TextMapPropagator) Option {
	return meshOption(func(o *options) error {
		if isNil(p) {
			return errors.New("fairlead: WithPropagator: the propagator is nil, want one, or the option left out")
		}
		o.tracing.Propagator = p
		return nil
	})
}

// WithLogger sets where changes of state are logged: breakers that open and
// close, a resolver that fails and recovers. The default is slog.Default().
func WithLogger(l *slog.Logger) Option {
	return meshOption(func(o *options) error {
		if l == nil {
			return errors.New("fairlead: WithLogger: the logger is nil, want one such as slog.New(slog.DiscardHandler)")
		}
		o.logger = l
		return nil
	})
}

// WithMaxServices bounds how many services are watched at a time. First a name
// that was never resolved makes room, then the service not used for longest; one
// in use never does, and where all are, calls to further names fail. The default
// is 1,000.
func WithMaxServices(n int) Option {
	return meshOption(func(o *options) error {
		if n < 1 {
			return fmt.Errorf("fairlead: WithMaxServices is %d, want at least 1", n)
		}
		o.maxServices = n
		return nil
	})
}

// WithServiceIdle sets after how long without a call a service is let go, at the
// latest a fifth of that later: its watch ends and its connections close. It comes
// back with the next call. The default is 10 min.
func WithServiceIdle(d time.Duration) Option {
	return meshOption(func(o *options) error {
		if d <= 0 {
			return fmt.Errorf("fairlead: WithServiceIdle is %v, want more than 0", d)
		}
		o.idleAfter = d
		return nil
	})
}

// isNil sees through an interface that holds a nil pointer.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Slice, reflect.Chan:
		return r.IsNil()
	}
	return false
}
