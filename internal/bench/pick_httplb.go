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

func httplbFleet(n int) httplbConns {
	conns := make(httplbConns, n)
	for i := range conns {
		conns[i] = &httplbConn{address: resolver.Address{HostPort: address(i)}}
	}
	return conns
}

func httplbChooser(name string, newPicker func(picker.Picker, conn.Conns) picker.Picker) chooser {
	return chooser{name: "httplb " + name, start: func(n int) (worker, error) {
		p := newPicker(nil, httplbFleet(n))
		return worker{work: func(n int) error {
			req := &http.Request{}
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
