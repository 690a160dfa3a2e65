package main

// phase is the time between two moments of the outage.
type phase struct {
	name     string
	from, to moment
}

func (o outage) phases() []phase {
	return []phase{
		{"before", o.began, o.killed},
		{"while " + o.victim.id + " was down", o.killed, o.revived},
		{"after its revival", o.revived, o.over},
	}
}

// picks returns how often the Mesh picked an endpoint in this phase.
func (p phase) picks(service, id string) uint32 {
	return endpointIn(p.to.status, service, id).Picks - endpointIn(p.from.status, service, id).Picks
}

// allPicks returns how often it picked any.
func (p phase) allPicks(service string) uint32 {
	var n uint32
	for _, s := range p.to.status.Services {
		for _, e := range s.Endpoints {
			if s.Name == service {
				n += p.picks(service, e.ID)
			}
		}
	}
	return n
}

// of returns those calls that began in this phase.
func (p phase) of(calls []call) []call {
	var in []call
	for _, c := range calls {
		if !c.at.Before(p.from.at) && c.at.Before(p.to.at) {
			in = append(in, c)
		}
	}
	return in
}
