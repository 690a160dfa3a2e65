package policytest

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/fairlead-go/fairlead/balancer"
)

// callers makes calls, each with another key. Two of them make the same ones.
type callers struct {
	subject *subject
	random  *rand.Rand
}

func (s *subject) callers() *callers {
	return &callers{subject: s, random: rand.New(rand.NewPCG(1, 2))}
}

func (c *callers) next() *balancer.Info {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], c.random.Uint32())
	key := netip.AddrFrom4(b).String()
	return &balancer.Info{Context: c.subject.put(context.Background(), key)}
}
