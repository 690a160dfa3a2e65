package main

import (
	"fmt"
	"io"
	"time"

	"github.com/fairlead-go/fairlead"
)

// outage is what happened to the victim, and what the Mesh knew at these moments.
type outage struct {
	victim                       *server
	began, killed, revived, over moment
}

// moment is a time and what the Mesh knew then.
type moment struct {
	at     time.Time
	status fairlead.Status
}

// backWithin is how long it may take until the revived server is called again.
// A breaker waits up to 10 s between two looks at a dead endpoint.
const backWithin = 15 * time.Second

// play kills the victim and revives it while the load goes on.
func play(w io.Writer, mesh *fairlead.Mesh, victim *server, cfg config) (outage, error) {
	o := outage{victim: victim}
	now := func() moment { return moment{time.Now(), mesh.Status()} }
	tell := func(format string, args ...any) {
		fmt.Fprintf(w, "%5.2f s  %s\n", time.Since(o.began.at).Seconds(), fmt.Sprintf(format, args...))
	}

	o.began = now()
	tell("%d policies, %d callers each, %d servers that answer in %s", len(services), cfg.callers, len(cfg.servers), delays(cfg.servers))
	time.Sleep(cfg.before)

	o.killed = now()
	victim.kill()
	tell("server %s is killed: its port and its connections are closed", victim.id)
	time.Sleep(cfg.down)

	if err := victim.start(); err != nil {
		return o, err
	}
	o.revived = now()
	tell("server %s is revived at its old address", victim.id)
	if err := o.awaitReturn(mesh); err != nil {
		return o, err
	}
	tell("server %s is called again by every policy", victim.id)
	time.Sleep(cfg.after)

	o.over = now()
	tell("the end")
	return o, nil
}

// awaitReturn waits until every service calls the victim again.
func (o *outage) awaitReturn(mesh *fairlead.Mesh) error {
	for {
		missing := o.missing(mesh.Status())
		if missing == "" {
			return nil
		}
		if time.Since(o.revived.at) > backWithin {
			return fmt.Errorf("%s did not call server %s within %v of its revival", missing, o.victim.id, backWithin)
		}
		time.Sleep(time.Millisecond)
	}
}

// missing returns a service that has not called the victim since its revival.
func (o *outage) missing(now fairlead.Status) string {
	for _, s := range services {
		e := endpointIn(now, s.name(), o.victim.id)
		if e.Breaker != "closed" || e.Picks == endpointIn(o.revived.status, s.name(), o.victim.id).Picks {
			return s.name()
		}
	}
	return ""
}

func endpointIn(status fairlead.Status, service, id string) fairlead.EndpointStatus {
	for _, s := range status.Services {
		for _, e := range s.Endpoints {
			if s.Name == service && e.ID == id {
				return e
			}
		}
	}
	return fairlead.EndpointStatus{}
}

func delays(servers []spec) string {
	var text string
	for i, s := range servers {
		if i > 0 {
			text += ", "
		}
		text += s.delay.String()
	}
	return text
}
