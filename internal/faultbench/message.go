package main

// command is what the bench tells a child, as a line of JSON.
type command struct {
	Do    string
	Addr  string `json:",omitempty"`
	Slot  int
	Fault *Fault `json:",omitempty"`
	Toxic *Toxic `json:",omitempty"`
}

// answer is what a child says to each command, and once when it is up.
type answer struct {
	Err    string `json:",omitempty"`
	Addr   string `json:",omitempty"`
	Counts Counts
}

// Counts are what a server has seen.
type Counts struct {
	Requests int64
	Failures int64 // answered with the status of a Fault
}

func (c *Counts) add(o Counts) {
	c.Requests += o.Requests
	c.Failures += o.Failures
}
