package consultest

import "net"

// ports are those of one agent.
type ports struct{ http, https, server, serf, wan, dns int }

// freePorts asks the kernel for the ports of n agents that nobody uses now, all
// held together so that they differ.
func freePorts(n int) ([]ports, error) {
	all := make([]ports, n)
	for i := range all {
		p := &all[i]
		for _, port := range []*int{&p.http, &p.https, &p.server, &p.serf, &p.wan, &p.dns} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			defer l.Close()
			*port = l.Addr().(*net.TCPAddr).Port
		}
	}
	return all, nil
}
