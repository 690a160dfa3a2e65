package main

import (
	"context"
	"net/http"

	"github.com/go-kratos/kratos/v2/registry"
	kratoshttp "github.com/go-kratos/kratos/v2/transport/http"
)

// kratosClient is kratos' client with its discovery and its default selector, weighted
// round robin, and without its timeout.
var kratosClient = client{"kratos", func(s *site) (session, error) {
	base, closeIdle := s.transport()
	c, err := kratoshttp.NewClient(context.Background(),
		kratoshttp.WithEndpoint("discovery:///"+service), kratoshttp.WithDiscovery(kratosAddrs(s.addrs)),
		kratoshttp.WithTransport(base), kratoshttp.WithTimeout(0), kratoshttp.WithBlock(),
	)
	if err != nil {
		closeIdle()
		return session{}, err
	}
	to := url(service)
	return session{func() error { return s.get(func(req *http.Request) (*http.Response, error) { return c.Do(req) }, to) }, func() { _ = c.Close(); closeIdle() }}, nil
}}

// kratosAddrs is a registry that knows all it will ever know.
type kratosAddrs []string

func (a kratosAddrs) GetService(context.Context, string) ([]*registry.ServiceInstance, error) {
	all := make([]*registry.ServiceInstance, len(a))
	for i, addr := range a {
		all[i] = &registry.ServiceInstance{ID: addr, Name: service, Endpoints: []string{"http://" + addr}}
	}
	return all, nil
}

func (a kratosAddrs) Watch(ctx context.Context, _ string) (registry.Watcher, error) {
	ctx, stop := context.WithCancel(ctx)
	return &kratosWatcher{addrs: a, ctx: ctx, stop: stop}, nil
}

// kratosWatcher tells once what there is.
type kratosWatcher struct {
	addrs kratosAddrs
	told  bool
	ctx   context.Context
	stop  context.CancelFunc
}

func (w *kratosWatcher) Next() ([]*registry.ServiceInstance, error) {
	if w.told {
		<-w.ctx.Done()
		return nil, w.ctx.Err()
	}
	w.told = true
	return w.addrs.GetService(w.ctx, service)
}

func (w *kratosWatcher) Stop() error {
	w.stop()
	return nil
}
