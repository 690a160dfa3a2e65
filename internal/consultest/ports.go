package consultest

import "net"

// ports are those of one agent.
type ports struct{ http, server, serf, dns int }

// freePorts asks the kernel for ports that nobody uses now, all held together
// so that they differ.
func freePorts() (ports, error) {
	var p ports
	for _, port := range []*int{&p.http, &p.server, &p.serf, &p.dns} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return ports{}, err
		}
		defer l.Close()
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return p, nil
}
