package main

import (
	"strings"
	"testing"
	"time"
)

func TestBadScenario(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*Scenario)
		says  string
	}{
		{"no name", func(s *Scenario) { s.Name = "" }, "Name"},
		{"no servers", func(s *Scenario) { s.Servers = 0 }, "Servers is 0"},
		{"too many servers", func(s *Scenario) { s.Servers = 17 }, "Servers is 17"},
		{"endless", func(s *Scenario) { s.Length = 3 * time.Hour }, "Length is 3h"},
		{"no bounds", func(s *Scenario) { s.Bounds = nil }, "Bounds"},
		{"unknown guard", func(s *Scenario) { s.Mesh.Guard = "luck" }, `Guard is "luck"`},
		{"no callers", func(s *Scenario) { s.Load.Callers = 0 }, "Callers is 0"},
		{"no rate", func(s *Scenario) { s.Load.Rate = 0 }, "Rate is 0"},
		{"too many calls", func(s *Scenario) { s.Load.Rate, s.Length = maxRate, time.Hour }, "at most 20000000 calls"},
		{"no timeout", func(s *Scenario) { s.Load.Timeout = 0 }, "Timeout is 0"},
		{"shares above one", func(s *Scenario) { s.Load.Posts, s.Load.RPCs = 0.6, 0.6 }, "Posts is 0.6"},
		{"no action", func(s *Scenario) { s.Steps[0].Do = Action{} }, "step 0: does nothing"},
		{"step too late", func(s *Scenario) { s.Steps[1].At = s.Length }, "step 1: At is"},
		{"steps out of order", func(s *Scenario) { s.Steps[1].At = 0 }, "in order"},
		{"network without proxy", func(s *Scenario) { s.Steps[0].Do = resets }, "want Proxied"},
		{"replaced behind a proxy", func(s *Scenario) { s.Proxied, s.Steps[0].Do = true, replace }, "no Proxied"},
		{"no such server", func(s *Scenario) { s.Steps[0].On = []int{3} }, "On has 3"},
		{"on nobody", func(s *Scenario) { s.Steps[0].On = nil }, "want servers"},
		{"Consul on a server", func(s *Scenario) { s.Steps[0].Do = consulDies }, "none for Consul"},
		{"let in without a heal", func(s *Scenario) { s.LetIn, s.Steps = second, s.Steps[:1] }, "nothing heals"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := sound()
			test.spoil(&s)
			if err := s.validate(); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one that says %q", err, test.says)
			}
		})
	}
	if s := sound(); s.validate() != nil {
		t.Errorf("the sound one: %v", s.validate())
	}
}

func sound() Scenario {
	return Scenario{
		Name: "sound", Servers: 3, Load: ordinary, Mesh: Mesh{Guard: breakers},
		Steps:  []Step{{2 * second, fast503, []int{0}}, {4 * second, healed, []int{0}}},
		Length: 6 * second, Bounds: []Bound{noErrors(get)},
	}
}

func TestFault(t *testing.T) {
	s := sound()
	if from, to := s.fault(); from != 2*second || to != 4*second {
		t.Errorf("wrong from %v to %v, want 2s to 4s", from, to)
	}
	s.Steps = s.Steps[:1]
	if from, to := s.fault(); from != 2*second || to != s.Length {
		t.Errorf("wrong from %v to %v, want 2s to the end", from, to)
	}
	s.Steps = nil
	if from, to := s.fault(); from != s.Length || to != s.Length {
		t.Errorf("wrong from %v to %v, want never", from, to)
	}
}
