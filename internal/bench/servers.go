package main

// servers are endpoints in processes of their own.
type servers []*child

func startServers(as string, n int) (servers, error) {
	var s servers
	for range n {
		c, err := startChild(as)
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
		addrs = append(addrs, c.addr)
	}
	return addrs
}

func (s servers) end() {
	for _, c := range s {
		c.end()
	}
}
