package main

import (
	"fmt"
	"net/http"
	"time"
)

// Action is what a Step does to servers, to the network before them, or to Consul.
type Action struct {
	Name  string
	kind  kind
	fault Fault
	toxic Toxic
}

type kind int

const (
	nothing kind = iota
	behave       // the server answers by fault
	poison       // the network does by toxic
	kill         // SIGKILL
	pause        // SIGSTOP
	roll         // a successor starts, then the server leaves properly
	heal         // all of the above ends; who was killed starts again
	killConsul
	startConsul
)

// The actions.
var (
	fast503    = status("503 fast", Fault{Status: http.StatusServiceUnavailable, Share: 1})
	later503   = status("503 with Retry-After", Fault{Status: http.StatusServiceUnavailable, Share: 1, RetryAfter: 1})
	limited429 = status("429", Fault{Status: http.StatusTooManyRequests, Share: 1})
	half500    = status("half 500", Fault{Status: http.StatusInternalServerError, Share: 0.5})
	slow100    = status("100 x slower", Fault{Delay: 100 * work})

	resets    = network("reset", Toxic{Type: "reset_peer", Attributes: map[string]int64{"timeout": 0}})
	blackHole = network("black hole", Toxic{Type: "timeout", Both: true, Attributes: map[string]int64{"timeout": 0}})
	halves    = network("half answers", Toxic{Type: "limit_data", Attributes: map[string]int64{"bytes": bodySize / 2}})

	sigkill = Action{Name: "SIGKILL", kind: kill}
	sigstop = Action{Name: "SIGSTOP", kind: pause}
	replace = Action{Name: "replaced", kind: roll}
	healed  = Action{Name: "healed", kind: heal}

	consulDies    = Action{Name: "Consul is killed", kind: killConsul}
	consulReturns = Action{Name: "Consul starts with nothing", kind: startConsul}
)

func status(name string, f Fault) Action  { return Action{Name: name, kind: behave, fault: f} }
func network(name string, t Toxic) Action { return Action{Name: name, kind: poison, toxic: t} }

// errorsAt makes servers answer 500 so often.
func errorsAt(share float64) Action {
	return status(fmt.Sprintf("%.0f %% errors", 100*share), Fault{Status: http.StatusInternalServerError, Share: share})
}

func (a Action) needsProxy() bool { return a.kind == poison }
func (a Action) ofConsul() bool   { return a.kind == killConsul || a.kind == startConsul }

const (
	work     = 5 * time.Millisecond // what an answer takes
	bodySize = 8 << 10
)

// Fault is how a server answers. The zero value is well.
type Fault struct {
	Status     int
	Share      float64 // of the answers that have Status, at once; the others are good
	RetryAfter int     // in seconds
	Delay      time.Duration
}

// Toxic is one of toxiproxy's.
type Toxic struct {
	Type       string
	Both       bool // ways; else only the answers'
	Attributes map[string]int64
}
