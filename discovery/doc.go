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
//	Services    a fixed table, for tests and for addresses that come from configuration
//	NewRegistry lives in the process and can be changed while it is watched; a Registrar too
//	File        a file of JSON, read again when it changes
//	DNS         A, AAAA and SRV records, asked again at an interval and when calls fail
//	Mux         leaves each name to one of several resolvers, by a pattern
//	Merge       the union of what several resolvers say
//	Filter      some of the endpoints that a resolver yields
//	Hold        patience with empty snapshots, for readers without a Mesh
//
// Package discovery/consul watches a Consul agent. All of them compose:
//
//	discovery.Mux{
//		"*.consul": consulResolver,
//		"*":        discovery.Merge(discovery.File("services.json"), discovery.DNS(discovery.DNSConfig{})),
//	}
//
// What the user configures wrongly is an error of Validate, which fairlead.New
// asks; what a source sends wrongly is skipped and logged once.
//
// # Being found
//
// A [Registrar] makes endpoints known; that of discovery/consul keeps them known.
// [Serving] runs a server in the right order: it serves, registers, and when it
// is told to stop leaves the registry before it stops to serve.
//
// # Writing a Resolver
//
// A Watch is a plain loop that asks, compares and yields. It yields the first
// snapshot as soon as it is known and a further one for each change, each of
// them complete. What it cannot find out it yields as an error, which means
// "keep what you have". A Resolver never yields an empty snapshot because
// something failed. Package discovery/resolvertest checks a Resolver of your own.
package discovery
