package grpcbalancer

import (
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxRemembered bounds a memory: a proxy may be made to call any name.
const maxRemembered = 4096

// memory keeps the first answers of a function that is slow.
type memory[V any] struct {
	answers sync.Map // string → V
	count   atomic.Int32
}

func (m *memory[V]) get(key string, answer func(string) V) V {
	if v, ok := m.answers.Load(key); ok {
		return v.(V)
	}
	v := answer(key)
	if m.count.Load() < maxRemembered {
		if _, known := m.answers.LoadOrStore(key, v); !known {
			m.count.Add(1)
		}
	}
	return v
}

// declaredIdempotent reports whether the option idempotency_level of a method,
// "/pkg.Service/Method", is NO_SIDE_EFFECTS or IDEMPOTENT, in a protobuf
// definition that is linked into the program.
func declaredIdempotent(method string) bool {
	name := protoreflect.FullName(strings.Replace(strings.TrimPrefix(method, "/"), "/", ".", 1))
	descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return false
	}
	options, ok := descriptor.Options().(*descriptorpb.MethodOptions)
	return ok && options.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}
