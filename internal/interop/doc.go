// Package interop runs those of grpc-go's interop cases, which every gRPC
// implementation has to pass, that need no cloud account and no policy of their
// own, through a Mesh. It is tests alone, and a module of its own: the cases link OAuth and xDS, which the library does not.
package interop
