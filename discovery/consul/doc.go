// Package consul watches services through a Consul agent, and registers them there.
//
// A [Resolver] asks Consul's health endpoint with blocking queries, one per
// service, and yields the set of entries that may be called whenever it
// changes; a change arrives within milliseconds. Critical entries are left
// out. Passing and warning ones weigh what the registration says under Weights,
// and one whose weight is 0, or that is in maintenance (or its node is), drains.
//
//	resolver, err := consul.New(consul.Config{}) // from the usual CONSUL_* variables
//	if err != nil {
//		return err
//	}
//	defer resolver.Close()
//	mesh, err := fairlead.New(resolver)
//
// A [Registrar] makes the endpoints of this process known; see Registering below.
//
// # Names
//
// The names users, users.service.consul and users.service.dc2.consul are
// understood, in any case; the last one asks datacenter dc2. Names that begin
// with a tag are not: use Config.Tags. A name with a port is not one of
// Consul's, since its entries bring their ports.
//
// # What becomes of an entry
//
//	ID        node/service-id; partition@peer@node/service-id for those of another partition or peer
//	Addr      Service.Address, or Node.Address where that is empty, with Service.Port
//	Weight    Service.Weights.Passing, or .Warning while a check warns; 1 where there are none
//	Drain     weight 0, or maintenance
//	Region,   the first there is of: Service.Locality, Node.Locality, the service's
//	Zone      metadata under "region" and "zone", the node's under the same keys
//	Metadata  the service's (a version is there if the registration has one), and the tags,
//	          joined by commas, under [MetadataTags]
//
// An entry without a usable address, port or weight is skipped, and one
// that stands twice counts once; each is logged once.
//
// # Defaults
//
//	Address     CONSUL_HTTP_ADDR, else localhost:8500
//	Token       CONSUL_HTTP_TOKEN_FILE, else CONSUL_HTTP_TOKEN, else none
//	Datacenter  the agent's
//	Namespace   CONSUL_NAMESPACE, else the token's
//	Partition   CONSUL_PARTITION, else the token's
//	Tags        none
//	Filter      none
//	TLS         CONSUL_HTTP_SSL, CONSUL_CACERT and their kin
//	Wait        60 s; each query draws from 45 s to 60 s
//	Timeout     15 s, added to 17/16 of the wait
//	Logger      slog.Default()
//
// and for a Registrar DeregisterAfter, 10 min.
//
// # Registering
//
//	registrar, err := consul.NewRegistrar(consul.Config{}, consul.HTTPCheck{Path: "/healthz"})
//	if err != nil {
//		return err
//	}
//	defer registrar.Close() // takes out what is still registered
//	_, err = registrar.Register(ctx, "users", discovery.Endpoint{Addr: "10.0.0.1:8080"})
//
// Register once the endpoint serves, and deregister (or Close) before it stops.
// What is registered is what a Resolver reads, but for the node's name before
// the ID; a Zone without a Region is seen in the metadata as well, under "zone".
//
// The names users and users.service.consul are understood. One in another
// datacenter is refused, since an agent registers in its own, and so is one with
// a dot, a port or more than 63 characters, which Consul's DNS would not find.
// Addr must be what others can reach: 0.0.0.0 and :: are refused.
//
//	ID        the endpoint's, else service-addr; unique on the agent, in all of its services
//	Weight    Weights.Passing, at most 65535; Weights.Warning is 1
//	Drain     maintenance, which an update without Drain ends; an operator's own is left alone
//	Region,   the locality (Consul 1.16 or newer); a zone alone is metadata under "zone"
//	Zone
//	Metadata  metadata: 64 keys of letters, digits, '-' and '_', 128 bytes a key, 512 a
//	          value; what stands under [MetadataTags] is split at its commas into tags
//
// All endpoints of a Registrar have the same checks:
//
//	[HTTPCheck]  the agent asks by HTTP      every 5 s, timeout 1 s
//	[TCPCheck]   the agent connects          every 5 s, timeout 1 s
//	[GRPCCheck]  the agent asks gRPC health  every 5 s, timeout 1 s
//	[TTLCheck]   the process tells the agent at least every third of its TTL of 10 s
//
// A check that the agent makes finds an endpoint that hangs or that a firewall
// hides; a TTLCheck, which is what a Registrar without checks has, needs no way
// from the agent to the endpoint and lets the endpoint speak for itself. Several
// can be had together. Consul takes an endpoint out when it has been critical
// for Config.DeregisterAfter, 10 min by default. For as long as its process
// lives it is registered again, each of its checks with the status last seen, so
// that nobody calls it before its checks pass. An operator's maintenance is
// forgotten with it.
//
// A registration is kept by one goroutine: it renews the TTL, and looks how the
// checks are that the agent makes, every 5 s, or 30 s at most beside a TTL. When the agent has ended a connection unannounced, or
// there has been none for 5 s whose end could tell of a restart, one of them
// looks, and all of them do if that one's endpoint is forgotten or nobody takes
// the connection. So what the agent has forgotten, because it was restarted
// without its data, is registered again within 2 s after the agent answers, or
// 7 s where there was no connection. An agent that cannot be reached or refuses
// is tried again after a random time of up to 50 ms, doubling to 2 s, for ever.
//
// Where ACLs are on, the token needs one right, and none on nodes:
//
//	service "users" { policy = "write" }
//
// The agent keeps a registration's token and tells the servers of changes with
// it. So a new token (TokenFile, TokenSource) is handed over by registering
// again, at the next renewal or look. Let the old one live for that long: what
// changes between the death of one and the coming of the other, the end of a TTL
// included, is told only then.
//
// The agent stands in for the process: register with the agent of the same
// machine, which dies with it, and not with one behind a load balancer. Two
// processes with the same ID on one agent, as in a restart with overlap, share
// one registration: when the older deregisters it the younger registers it again
// at its next renewal or look. Where that gap hurts give each an ID of its own.
//
// # Limits
//
// A watch asks at most 10 times at once and then once a second, where a query
// that brings a change counts a fifth, and at most once a second where an answer
// is larger than 1 MiB. After an error it rests a
// random time of up to 50 ms, doubling to 30 s, or to 1.6 s where nobody takes
// the connection. An answer may have 64 MiB and 100,000 entries.
//
// A look for [Resolver.Refresh] that fails is an error though the waiting query
// goes on, since that one says nothing of an agent that hangs. The watch looks
// again after the same rest, until a look succeeds or the waiting query returns.
//
// Any server may answer, also one that lags behind. What could be its ignorance
// (no entries, or an older index than is known) is asked of the leader before it
// is believed. Where the registry itself has lost its state, its empty answer is
// an error for 30 s, in which its services register again; then the leader is
// asked once more, and obeyed.
//
// Over plain HTTP each watch holds one connection, and an agent takes 200 from
// one address unless its limits.http_max_conns_per_client says otherwise; over
// https the watches share a few.
//
// Where the default ACL policy is to deny, Consul does not tell a reader
// without a token whether a service has no entries or the reader no right to
// see them. Such an answer is an error ([ErrDenied]), never an empty set, so
// give the Resolver a token there, or the agent a default one.
package consul
