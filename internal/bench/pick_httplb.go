package main

import (
	"net/http"

	"github.com/bufbuild/httplb/conn"
	"github.com/bufbuild/httplb/picker"
	"github.com/bufbuild/httplb/resolver"
)

// httplb's pickers.
var (
	httplbRoundRobin  = httplbChooser("round robin", picker.NewRoundRobin)
	httplbRandom      = httplbChooser("random", picker.NewRandom)
	httplbPowerOfTwo  = httplbChooser("power of two", picker.NewPowerOfTwo)
	httplbLeastLoaded = httplbChooser("least loaded", picker.NewLeastLoadedRoundRobin)
)

// httplbConn is an endpoint without a connection.
type httplbConn struct {
	conn.Conn
	address resolver.Address
}

func (c *httplbConn) Address() resolver.Address { return c.address }
func (c *httplbConn) Scheme() string            { return "http" }

type httplbConns []conn.Conn

func (c httplbConns) Len() int            { return len(c) }
func (c httplbConns) Get(i int) conn.Conn { return c[i] }

func httplbFleetOf(addrs []string) httplbConns {
	conns := make(httplbConns, len(addrs))
	for i, addr := range addrs {
		conns[i] = &httplbConn{address: resolver.Address{HostPort: addr}}
	}
	return conns
}

func httplbChooser(name string, newPicker func(picker.Picker, conn.Conns) picker.Picker) chooser {
	return chooser{name: "httplb " + name, start: func(n int) (worker, error) {
		p, req := newPicker(nil, httplbFleetOf(addresses(n))), &http.Request{}
		where := func() (string, error) {
			c, _, err := p.Pick(req) // never done, so that it is counted
			if err != nil {
				return "", err
			}
			return c.Address().HostPort, nil
		}
		return worker{where: where, work: func(n int) error {
			for range n {
				_, done, err := p.Pick(req)
				if err != nil {
					return err
				}
				if done != nil {
					done()
				}
			}
			return nil
		}}, nil
	}}
}
