// Package consul watches services through a Consul agent.
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
// # Limits
//
// A watch asks at most 10 times at once and then once a second, where a query
// that brings a change counts a fifth, and at most once a second where an answer
// is larger than 1 MiB. After an error it rests a
// random time of up to 50 ms, doubling to 30 s. An answer may have 64 MiB and
// 100,000 entries.
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
