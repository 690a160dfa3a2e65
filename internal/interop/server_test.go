package interop_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// server is a real gRPC server of grpc-go's test service.
type server struct {
	testpb.TestServiceServer
	addr  string
	calls atomic.Int64 // of methods that there are
}

func newServer(t *testing.T, opts ...grpc.ServerOption) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{TestServiceServer: interop.NewTestServer(), addr: l.Addr().String()}
	g := grpc.NewServer(append(opts, grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream))...)
	testpb.RegisterTestServiceServer(g, s)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

func (s *server) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	s.calls.Add(1)
	return handler(ctx, req)
}

func (s *server) stream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	s.calls.Add(1)
	return handler(srv, stream)
}

// UnaryCall says who answers where the client wants to know, which grpc-go's own
// server does not.
func (s *server) UnaryCall(ctx context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	resp, err := s.TestServiceServer.UnaryCall(ctx, req)
	if err == nil && req.GetFillServerId() {
		resp.ServerId = s.addr
	}
	return resp, err
}

// certificate returns the one that net/http/httptest has, for example.com, and
// who trusts it.
func certificate() (tls.Certificate, *x509.CertPool) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return s.TLS.Certificates[0], pool
}
