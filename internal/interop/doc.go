// Package interop runs grpc-go's own interop cases, which every gRPC
// implementation has to pass, through a Mesh. It is tests alone, and a module of
// its own: the cases link OAuth and xDS, which the library does not.
package interop
