package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/fairlead-go/fairlead/internal/consultest"
)

// fleet is the servers of a scenario, their Consul agent and their proxies.
type fleet struct {
	agent   *consultest.Agent
	proxies *child // nil unless proxied
	slots   []*slot
	dir     string
	made    int    // servers so far
	counts  Counts // of the servers that left properly
}

// slot is a place of the fleet, with the server that has it now.
type slot struct {
	number int
	server *child
	id     string
	addr   string // of the server
	known  string // what is registered
	killed bool
	paused *paused // nil unless it is
	sick   bool    // its proxy is poisoned
}

func startFleet(s *Scenario, on *stage) (*fleet, error) {
	f := &fleet{agent: consultest.Start(on), dir: on.TempDir()}
	on.Cleanup(f.close)
	var err error
	if s.Proxied {
		if f.proxies, _, err = startChild(proxyRole); err != nil {
			return nil, fmt.Errorf("the proxies: %w", err)
		}
	}
	for number := range s.Servers {
		sl := &slot{number: number}
		f.slots = append(f.slots, sl)
		if err := f.fill(sl); err != nil {
			return nil, fmt.Errorf("server %d: %w", number, err)
		}
	}
	return f, nil
}

// fill starts a new server for a slot.
func (f *fleet) fill(sl *slot) error {
	f.made++
	sl.id, sl.addr = "users-"+strconv.Itoa(f.made), "127.0.0.1:0"
	if err := f.launch(sl); err != nil {
		return err
	}
	sl.known = sl.addr
	if f.proxies != nil {
		a, err := f.proxies.ask(command{Do: "open", Slot: sl.number, Addr: sl.addr})
		if err != nil {
			return err
		}
		sl.known = a.Addr
	}
	_, err := sl.server.ask(command{Do: "register", Addr: sl.known})
	return err
}

// launch starts a server process at the slot's address.
func (f *fleet) launch(sl *slot) error {
	server, a, err := startChild(serverRole, serveAt+"="+sl.addr, serveName+"="+strconv.Itoa(sl.number),
		serveID+"="+sl.id, serveAgent+"="+f.agent.Addr, serveLog+"="+f.logFile(sl))
	if err != nil {
		return err
	}
	sl.server, sl.addr, sl.killed = server, a.Addr, false
	return nil
}

func (f *fleet) logFile(sl *slot) string { return filepath.Join(f.dir, "executed-"+sl.id) }

// do is a step.
func (f *fleet) do(step Step) error {
	switch step.Do.kind {
	case killConsul:
		f.agent.Kill()
	case startConsul:
		f.agent.Restart()
	}
	for _, number := range step.On {
		if err := f.act(step.Do, f.slots[number]); err != nil {
			return fmt.Errorf("%s on server %d: %w", step.Do.Name, number, err)
		}
	}
	return nil
}

func (f *fleet) act(a Action, sl *slot) error {
	var err error
	switch a.kind {
	case behave:
		_, err = sl.server.ask(command{Do: "behave", Fault: &a.fault})
	case poison:
		sl.sick = true
		_, err = f.proxies.ask(command{Do: "poison", Slot: sl.number, Toxic: &a.toxic})
	case kill:
		sl.killed = true
		sl.server.end(os.Kill)
	case pause:
		sl.paused, err = sl.server.pause()
	case roll:
		err = f.roll(sl)
	case heal:
		err = f.heal(sl)
	}
	return err
}

// roll starts the successor before the server is told to leave, which takes it
// out of the registry, lingers and answers what is in flight.
func (f *fleet) roll(sl *slot) error {
	old := *sl
	if err := f.fill(sl); err != nil {
		return err
	}
	f.countOf(old.server)
	old.server.end(syscall.SIGTERM)
	if code := old.server.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the server that left ended with %d", code)
	}
	return nil
}

func (f *fleet) heal(sl *slot) error {
	if sl.sick {
		sl.sick = false
		if _, err := f.proxies.ask(command{Do: "heal", Slot: sl.number}); err != nil {
			return err
		}
	}
	switch {
	case sl.killed:
		if err := f.launch(sl); err != nil {
			return err
		}
		_, err := sl.server.ask(command{Do: "return", Addr: sl.known}) // Consul may be down
		return err
	case sl.paused != nil:
		p := sl.paused
		sl.paused = nil
		return p.resume()
	}
	_, err := sl.server.ask(command{Do: "behave", Fault: &Fault{}})
	return err
}

// count asks all servers that live.
func (f *fleet) count() Counts {
	all := f.counts
	for _, sl := range f.slots {
		if a, err := sl.server.ask(command{Do: "count"}); err == nil {
			all.add(a.Counts)
		}
	}
	return all
}

func (f *fleet) countOf(server *child) {
	if a, err := server.ask(command{Do: "count"}); err == nil {
		f.counts.add(a.Counts)
	}
}

// died is how many servers ended that nobody ended.
func (f *fleet) died() int {
	n := 0
	for _, sl := range f.slots {
		if sl.server.died() {
			n++
		}
	}
	return n
}

// executed returns how often each call that may not be retried was executed.
func (f *fleet) executed() (map[string]int, error) {
	files, err := filepath.Glob(filepath.Join(f.dir, "executed-*"))
	if err != nil {
		return nil, err
	}
	times := make(map[string]int)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, id := range strings.Fields(string(data)) {
			times[id]++
		}
	}
	return times, nil
}

func (f *fleet) close() {
	for _, sl := range f.slots {
		if sl.paused != nil {
			_ = sl.paused.resume()
		}
		if sl.server != nil {
			sl.server.end(os.Kill)
		}
	}
	if f.proxies != nil {
		f.proxies.end(os.Kill)
	}
}
