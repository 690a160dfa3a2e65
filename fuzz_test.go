package fairlead

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func FuzzServiceName(f *testing.F) {
	for _, seed := range []string{"users", "USERS.", "users:80", "[::1]:80", "::1", "a.b.c.", ".", ":", "a:", "[", "]:1", "x..", "üsers", "a b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		name, err := serviceName(host)
		if err != nil {
			return
		}
		if name == "" || name != strings.ToLower(name) || len(name) > maxNameLength+2 {
			t.Errorf("serviceName(%q) = %q", host, name)
		}
		if again, err := serviceName(name); err != nil || again != name {
			t.Errorf("serviceName(%q) = %q, and of that %q, %v", host, name, again, err)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, seed := range []string{"", "0", "5", "-1", "1e3", "99999999999999999999", "Thu, 01 Jan 2026 00:00:10 GMT", "soon"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if d, _ := retryAfter(http.Header{"Retry-After": {value}}, func() time.Time { return now }); d < 0 || d > maxRetryAfter {
			t.Errorf("retryAfter(%q) = %v", value, d)
		}
	})
}

func FuzzForwardedIP(f *testing.F) {
	for _, seed := range []string{"", "10.0.0.1", "10.0.0.1, 10.0.0.2", "[::1]:80", "for=1.2.3.4;by=x, for=\"[::1]:9\"", "for", ",", "unknown", "_x"} {
		f.Add(seed, seed, 0)
		f.Add(seed, "", 1)
	}
	f.Fuzz(func(t *testing.T, forwarded, xff string, hops int) {
		h := http.Header{"X-Forwarded-For": {xff}}
		if forwarded != "" {
			h["Forwarded"] = []string{forwarded}
		}
		if addr, ok := forwardedIP(h, hops&0xff); ok != addr.IsValid() {
			t.Errorf("forwardedIP(%q, %q, %d) = %v, %v", forwarded, xff, hops&0xff, addr, ok)
		}
	})
}

func TestForwardedIP(t *testing.T) {
	tests := []struct {
		name   string
		header http.Header
		hops   int
		want   string
	}{
		{"last", http.Header{"X-Forwarded-For": {"6.6.6.6, 10.0.0.1"}}, 0, "10.0.0.1"},
		{"one before", http.Header{"X-Forwarded-For": {"6.6.6.6, 10.0.0.1,10.0.0.2"}}, 1, "10.0.0.1"},
		{"over lines", http.Header{"X-Forwarded-For": {"6.6.6.6, 10.0.0.1", "10.0.0.2"}}, 1, "10.0.0.1"},
		{"too few", http.Header{"X-Forwarded-For": {"10.0.0.1"}}, 1, ""},
		{"with a port", http.Header{"X-Forwarded-For": {"10.0.0.1:99"}}, 0, "10.0.0.1"},
		{"IPv6", http.Header{"X-Forwarded-For": {"2001:db8::1"}}, 0, "2001:db8::1"},
		{"IPv6 with a port", http.Header{"X-Forwarded-For": {"[2001:db8::1]:99"}}, 0, "2001:db8::1"},
		{"Forwarded", http.Header{"Forwarded": {`for=6.6.6.6, proto=http;For="[2001:db8::1]:99"`}, "X-Forwarded-For": {"1.1.1.1"}}, 0, "2001:db8::1"},
		{"obfuscated", http.Header{"Forwarded": {"for=_hidden"}}, 0, ""},
		{"none", http.Header{}, 0, ""},
	}
	for _, tt := range tests {
		addr, ok := forwardedIP(tt.header, tt.hops)
		if got := addr.String(); ok && got != tt.want || !ok && tt.want != "" {
			t.Errorf("%s: %v, %v, want %q", tt.name, addr, ok, tt.want)
		}
	}
}
