package main

// servers are endpoints, each in a process of its own.
type servers []*child

func startServers(as string, n int) (servers, error) {
	var s servers
	for range n {
		c, err := startChild(as, 1)
		if err != nil {
			s.end()
			return nil, err
		}
		s = append(s, c)
	}
	return s, nil
}

func (s servers) addrs() []string {
	var addrs []string
	for _, c := range s {
		addrs = append(addrs, c.addrs...)
	}
	return addrs
}

func (s servers) end() {
	for _, c := range s {
		c.end()
	}
}
