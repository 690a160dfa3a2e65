// Package consultest runs real Consul agents for tests.
//
//	agent := consultest.Start(t, consultest.WithConfig(`acl { enabled = true }`))
//	resolver, err := consul.New(consul.Config{Address: agent.Addr})
//
// The binary is the one that the environment variable FAIRLEAD_CONSUL names,
// else .bin/consul below the module's root, where `make consul` builds it. With
// neither the test is skipped, or fails if FAIRLEAD_NO_SKIP is 1.
package consultest
