package fairlead_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/balancer"
	"github.com/fairlead-go/fairlead/discovery"
	"github.com/fairlead-go/fairlead/retry"
)

// tickers is the pace at which tests on real sockets look again.
func tickers() *time.Ticker { return time.NewTicker(10 * time.Millisecond) }

func TestRequestIsNotModified(t *testing.T) {
	first := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	second := newServer(t, hello)
	for name, content := range map[string]io.Reader{
		"no body":       nil,
		"known body":    strings.NewReader("content"),
		"unknown body":  newBody("content"),
		"explicit none": http.NoBody,
	} {
		t.Run(name, func(t *testing.T) {
			mesh := newMesh(t, []*server{first, second}, fairlead.WithTimeout(10*time.Second))
			req, _ := http.NewRequest(http.MethodPut, "http://Users./v1?q=1", content)
			req.Header.Set("X-Test", "1")
			req.Header["Empty"] = nil
			before, header, url, content := *req, req.Header.Clone(), *req.URL, req.Body
			for range 4 {
				resp, err := mesh.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if resp.Request != req {
					t.Error("resp.Request is not the caller's request")
				}
				readAll(t, resp)
				if req.GetBody == nil {
					break
				}
				req.Body, _ = req.GetBody()
				content = req.Body
			}
			if diff := cmp.Diff(header, req.Header); diff != "" {
				t.Errorf("header changed (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(url, *req.URL); diff != "" {
				t.Errorf("URL changed (-before +after):\n%s", diff)
			}
			if req.Body != content || req.Host != before.Host || req.Method != before.Method || req.ContentLength != before.ContentLength {
				t.Error("the request changed")
			}
		})
	}
}

func TestHostIsTheServices(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	mesh := newMesh(t, []*server{s})
	for url, want := range map[string]string{"http://users/": "users", "http://USERS/": "USERS", "http://users./": "users."} {
		resp, err := mesh.Client().Get(url)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, resp); got != want {
			t.Errorf("%s: the server saw Host %q, want %q", url, got, want)
		}
	}
	req, _ := http.NewRequest(http.MethodGet, "http://users/", nil)
	req.Host = "virtual.example"
	resp, err := mesh.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, resp); got != "virtual.example" {
		t.Errorf("the server saw Host %q, want the request's own", got)
	}
}

// The body is closed exactly once, whatever becomes of the call.
func TestRequestBodyIsAlwaysClosed(t *testing.T) {
	good := newServer(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	early := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	gone := newServer(t, hello)
	gone.kill()
	services := discovery.Services{
		"good": discovery.Addrs(good.addr), "early": discovery.Addrs(early.addr),
		"gone": discovery.Addrs(gone.addr), "empty": {},
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name, url string
		ctx       context.Context
		closed    bool
	}{
		{"answered", "http://good/", t.Context(), false},
		{"answered without reading", "http://early/", t.Context(), false},
		{"no connection", "http://gone/", t.Context(), false},
		{"no endpoints", "http://empty/", t.Context(), false},
		{"unknown service", "http://nobody/", t.Context(), false},
		{"unknown scheme", "ftp://good/", t.Context(), false},
		{"no host", "http:///", t.Context(), false},
		{"cancelled", "http://good/", cancelled, false},
		{"after Close", "http://good/", t.Context(), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mesh := newMeshOver(t, services)
			if tt.closed {
				mesh.Close()
			}
			b := newBody("content")
			req, err := http.NewRequestWithContext(tt.ctx, http.MethodPost, tt.url, b)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := mesh.RoundTrip(req)
			if (resp == nil) == (err == nil) {
				t.Fatalf("response %v and error %v, want exactly one", resp, err)
			}
			if resp != nil {
				readAll(t, resp)
			}
			eventually(t, "the body is closed", func() bool { return b.closed.Load() > 0 })
			if n := b.closed.Load(); n != 1 {
				t.Errorf("the body was closed %d times, want once", n)
			}
		})
	}
}

func TestStreamsBothWays(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "echo %s\n", lines.Text())
			_ = control.Flush()
		}
	})
	mesh := newMesh(t, []*server{s})
	out, in := io.Pipe()
	req, _ := http.NewRequest(http.MethodPost, "http://users/", out)
	go func() { fmt.Fprintln(in, "0") }()
	resp, err := mesh.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := range 5 {
		if !lines.Scan() {
			t.Fatalf("the stream ended at line %d: %v", i, lines.Err())
		}
		if want := fmt.Sprintf("echo %d", i); lines.Text() != want {
			t.Errorf("line %q, want %q", lines.Text(), want)
		}
		if n := mesh.Status().Services[0].Endpoints[0].InFlight; n != 1 {
			t.Errorf("%d in flight during the stream, want 1", n)
		}
		fmt.Fprintln(in, i+1)
	}
	in.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if n := mesh.Status().Services[0].Endpoints[0].InFlight; n != 0 {
		t.Errorf("%d in flight after the stream, want 0", n)
	}
}

func TestTrailersPass(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "Sum")
		_, _ = io.WriteString(w, "content")
		w.Header().Set("Sum", r.Trailer.Get("Sent"))
	})
	for name, opt := range map[string]fairlead.Option{
		"defaults":    fairlead.WithRetry(retry.Config{}),
		"time limit":  fairlead.WithRetry(retry.Config{AttemptTimeout: time.Minute}),
		"to be ended": fairlead.WithTimeout(time.Minute),
	} {
		t.Run(name, func(t *testing.T) {
			mesh := newMesh(t, []*server{s}, opt)
			content := newBody("content")
			req, _ := http.NewRequest(http.MethodPost, "http://users/", content)
			req.Trailer = http.Header{"Sent": nil}
			content.Reader = io.MultiReader(content.Reader, readerFunc(func([]byte) (int, error) {
				req.Trailer.Set("Sent", "42")
				return 0, io.EOF
			}))
			resp, err := mesh.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			readAll(t, resp)
			if got := resp.Trailer.Get("Sum"); got != "42" {
				t.Errorf("trailer %q, want 42", got)
			}
		})
	}
}

func TestInformationalResponsesPass(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "done")
	})
	mesh := newMesh(t, []*server{s})
	var hints []int
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { hints = append(hints, code); return nil },
	})
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://users/", nil)
	resp, err := mesh.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, resp)
	if diff := cmp.Diff([]int{http.StatusEarlyHints}, hints); diff != "" {
		t.Errorf("1xx responses (-want +got):\n%s", diff)
	}
}

func TestExpectContinue(t *testing.T) {
	for name, status := range map[string]int{"accepted": http.StatusOK, "refused": http.StatusExpectationFailed} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				if status == http.StatusOK {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				w.WriteHeader(status)
			})
			mesh := newMesh(t, []*server{s}, fairlead.WithTransport(func(t *http.Transport) { t.ExpectContinueTimeout = time.Minute }))
			read := false
			b := newBody("")
			b.Reader = readerFunc(func([]byte) (int, error) { read = true; return 0, io.EOF })
			req, _ := http.NewRequest(http.MethodPut, "http://users/", b)
			req.ContentLength = -1
			req.Header.Set("Expect", "100-continue")
			resp, err := mesh.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			readAll(t, resp)
			if resp.StatusCode != status {
				t.Errorf("status %d, want %d", resp.StatusCode, status)
			}
			eventually(t, "the body is closed", func() bool { return b.closed.Load() == 1 })
			if want := status == http.StatusOK; read != want {
				t.Errorf("the body was read: %v, want %v", read, want)
			}
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestUpgrade(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprint(rw, "echo "+line)
		_ = rw.Flush()
	})
	for name, opts := range map[string][]fairlead.Option{
		"plain": nil,
		"through middleware": {fairlead.WithMiddleware(func(next http.RoundTripper) http.RoundTripper {
			return roundTripperFunc(next.RoundTrip)
		})},
	} {
		t.Run(name, func(t *testing.T) {
			mesh := newMesh(t, []*server{s}, opts...)
			req, _ := http.NewRequest(http.MethodGet, "http://users/", nil)
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "echo")
			resp, err := mesh.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			rw, ok := resp.Body.(io.ReadWriteCloser)
			if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("status %d with a body of type %T, want 101 and an io.ReadWriteCloser", resp.StatusCode, resp.Body)
			}
			if n := mesh.Status().Services[0].Endpoints[0].InFlight; n != 1 {
				t.Errorf("%d in flight while upgraded, want 1", n)
			}
			fmt.Fprintln(rw, "hi")
			if line, _ := bufio.NewReader(rw).ReadString('\n'); line != "echo hi\n" {
				t.Errorf("got %q, want %q", line, "echo hi\n")
			}
			rw.Close()
			if n := mesh.Status().Services[0].Endpoints[0].InFlight; n != 0 {
				t.Errorf("%d in flight after Close, want 0", n)
			}
		})
	}
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// HTTP/2 multiplexes; it must not pin a client to one endpoint.
func TestHTTP2SpreadsOverEndpoints(t *testing.T) {
	clear2 := func(s *httptest.Server) {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
	}
	for _, encrypted := range []bool{false, true} {
		t.Run(map[bool]string{false: "h2c", true: "TLS"}[encrypted], func(t *testing.T) {
			servers := make([]*server, 3)
			roots := x509.NewCertPool()
			for i := range servers {
				s := &server{}
				s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					s.calls.Add(1)
					fmt.Fprint(w, r.Proto)
				})
				servers[i] = s
				if !encrypted {
					s.start(t, "127.0.0.1:0", clear2)
				} else {
					s.Server = httptest.NewUnstartedServer(s.handler)
					s.EnableHTTP2 = true
					s.StartTLS()
					s.addr = s.Listener.Addr().String()
					roots.AddCert(s.Certificate())
				}
				t.Cleanup(s.Close)
			}
			opts := []fairlead.Option{fairlead.WithBalancer(balancer.RoundRobin())}
			url := "https://example.com/"
			if encrypted {
				opts = append(opts, fairlead.WithTLS(&tls.Config{RootCAs: roots}))
			} else {
				url = "http://example.com/"
				opts = append(opts, fairlead.WithTransport(func(t *http.Transport) {
					t.Protocols = new(http.Protocols)
					t.Protocols.SetUnencryptedHTTP2(true)
				}))
			}
			mesh := newMeshOver(t, discovery.Services{"example.com": discovery.Addrs(servers[0].addr, servers[1].addr, servers[2].addr)}, opts...)
			for range 30 {
				resp, err := mesh.Client().Get(url)
				if err != nil {
					t.Fatal(err)
				}
				if proto := readAll(t, resp); proto != "HTTP/2.0" {
					t.Fatalf("protocol %s, want HTTP/2.0", proto)
				}
			}
			for i, s := range servers {
				if n := s.calls.Load(); n != 10 {
					t.Errorf("server %d has %d of 30 calls, want 10", i, n)
				}
			}
		})
	}
}

// The certificate is checked against the service's name, not the endpoint's address.
func TestTLSNameIsTheServices(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(hello))
	s.Config.ErrorLog = discardLog()
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	addr := discovery.Addrs(s.Listener.Addr().String())
	mesh := newMeshOver(t, discovery.Services{"example.com": addr, "users": addr}, fairlead.WithTLS(&tls.Config{RootCAs: roots}))
	resp, err := mesh.Client().Get("https://example.com/")
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, resp); got != "hello from example.com" {
		t.Errorf("got %q", got)
	}
	_, err = mesh.Client().Get("https://users/")
	var wrong x509.HostnameError
	if !errors.As(err, &wrong) || wrong.Host != "users" {
		t.Errorf("error %v, want a HostnameError for users", err)
	}
}

func TestHeadAndEmptyBodiesEndAtOnce(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
		}
	})
	mesh := newMesh(t, []*server{s})
	for _, method := range []string{http.MethodHead, http.MethodGet, http.MethodDelete} {
		req, _ := http.NewRequest(method, "http://users/", nil)
		resp, err := mesh.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if n := mesh.Status().Services[0].Endpoints[0].InFlight; n != 0 {
			t.Errorf("%s: %d in flight though there is no body, want 0", method, n)
		}
		resp.Body.Close()
	}
}
