package fairlead_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/fairlead-go/fairlead"
	"github.com/fairlead-go/fairlead/discovery"
)

// instant answers at once, in memory, so that what is measured is us.
type instant struct{}

func (instant) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: &memoryBody{}, Request: req,
	}, nil
}

// memoryBody is a body of nothing that can be read only, as those of net/http.
type memoryBody struct{ _ byte }

func (*memoryBody) Read([]byte) (int, error) { return 0, io.EOF }

func (*memoryBody) Close() error { return nil }

// get makes a whole call through the client.
func get(tb testing.TB, client *http.Client) {
	resp, err := client.Get("http://users/v1/42")
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		tb.Fatal(err)
	}
	resp.Body.Close()
}

func instantMesh(tb testing.TB, opts ...fairlead.Option) *fairlead.Mesh {
	tb.Helper()
	opts = append(opts, fairlead.WithEndpointTransport(func(string, discovery.Endpoint) (http.RoundTripper, error) {
		return instant{}, nil
	}))
	mesh, err := fairlead.New(discovery.Services{"users": discovery.Addrs("a:1", "b:1", "c:1")}, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { mesh.Close() })
	get(tb, mesh.Client())
	return mesh
}

func TestCallAllocatesOneMore(t *testing.T) {
	bare, ours := &http.Client{Transport: instant{}}, instantMesh(t).Client()
	allowed := 1.0 // the call
	if raceEnabled {
		allowed = 2
	}
	without := testing.AllocsPerRun(500, func() { get(t, bare) })
	with := testing.AllocsPerRun(500, func() { get(t, ours) })
	t.Logf("a bare client: %v allocations, through the mesh: %v", without, with)
	if with > without+allowed {
		t.Errorf("a call through the mesh makes %v allocations, want at most %v more than the %v of a bare client", with, allowed, without)
	}
}

func BenchmarkCall(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		client := &http.Client{Transport: instant{}}
		b.ReportAllocs()
		for b.Loop() {
			get(b, client)
		}
	})
	b.Run("mesh", func(b *testing.B) {
		client := instantMesh(b).Client()
		b.ReportAllocs()
		for b.Loop() {
			get(b, client)
		}
	})
}
