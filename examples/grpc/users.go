package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The service, as protobuf would have it:
//
//	service Users {
//	  rpc Name(google.protobuf.StringValue) returns (google.protobuf.StringValue) {
//	    option idempotency_level = NO_SIDE_EFFECTS;
//	  }
//	  rpc Visit(google.protobuf.StringValue) returns (google.protobuf.StringValue);
//	}
//
// From that protoc-gen-go-grpc would generate what stands in this file but for
// the two methods; here it is written by hand, so that the example needs no protoc.
const (
	nameMethod  = "/fairlead.example.Users/Name"
	visitMethod = "/fairlead.example.Users/Visit"
)

var usersService = grpc.ServiceDesc{
	ServiceName: "fairlead.example.Users",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Name", Handler: handler((*users).name)},
		{MethodName: "Visit", Handler: handler((*users).visit)},
	},
}

type method = func(*users, context.Context, *wrapperspb.StringValue) (*wrapperspb.StringValue, error)

// handler leaves the interceptor out, since the server has none.
func handler(m method) grpc.MethodHandler {
	return func(server any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		request := &wrapperspb.StringValue{}
		if err := decode(request); err != nil {
			return nil, err
		}
		return m(server.(*users), ctx, request)
	}
}

// users is what one server knows.
type users struct {
	id     string
	visits atomic.Int64
}

// work is how long a call takes, so that some are under way at any moment.
const work = 20 * time.Millisecond

// name says what user 42 is called. To ask again does no harm.
func (u *users) name(_ context.Context, user *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	time.Sleep(work)
	return wrapperspb.String(fmt.Sprintf("user %s is Ada, says %s", user.GetValue(), u.id)), nil
}

// visit counts a visit. One that is sent again would be counted twice.
func (u *users) visit(_ context.Context, user *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	time.Sleep(work)
	return wrapperspb.String(fmt.Sprintf("visit %d, of user %s, says %s", u.visits.Add(1), user.GetValue(), u.id)), nil
}
