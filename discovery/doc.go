// Package discovery says who serves a name.
//
// An [Endpoint] is one address of a service, a [Snapshot] is the complete set
// of them at one moment, and a [Resolver] yields a service's snapshots one
// after the other for as long as somebody watches. That is the whole contract:
// everything above (holding the last good set, balancing, breaking) works the
// same whichever Resolver feeds it.
//
//	resolver := discovery.Services{
//		"users":  discovery.Addrs("10.0.0.1:8080", "10.0.0.2:8080"),
//		"orders": {{ID: "orders-1", Addr: "10.0.0.3:8080", Weight: 3, Zone: "a"}},
//	}
//
// # Choosing
//
// [Services] is a fixed table, good for tests and for addresses that come from
// configuration. [Registry] lives in the process and can be changed while it is
// watched; it is a [Registrar] as well. Package discovery/consul watches a
// Consul agent.
//
// # Writing a Resolver
//
// A Watch is a plain loop that asks, compares and yields. It yields the first
// snapshot as soon as it is known and a further one for each change, each of
// them complete. What it cannot find out it yields as an error, which means
// "keep what you have". A Resolver never yields an empty snapshot because
// something failed.
package discovery
