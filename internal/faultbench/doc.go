// Faultbench puts a Mesh under load while its endpoints fail in all the ways
// that we know, and says whether the bounds hold that the library promises.
//
// The servers are processes of their own, which really can be killed and
// stopped. They register themselves with a real Consul agent. Where a fault is
// the network's, a process of toxiproxies stands between. The process that calls
// runs nothing but the Mesh, so that what is left over after Close is the Mesh's.
//
//	go run . -list
//	go run . -run '503 fast' -seed 7
//
// It is a module of its own, outside go.work, so that it raises nobody's versions.
package main
