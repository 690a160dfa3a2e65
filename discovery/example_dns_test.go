package discovery_test

import (
	"context"
	"fmt"

	"github.com/fairlead-go/fairlead/discovery"
)

func ExampleDNS() {
	// Services are asked for as <name>.internal; a URL need not carry the port.
	resolver := discovery.DNS(discovery.DNSConfig{Name: "{}.internal", Port: 8080})

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, service := range []string{"10.0.0.1", "[fd00::1]:80", "not a name"} {
		for snapshot, err := range resolver.Watch(ctx, service) {
			switch {
			case snapshot.Unknown:
				fmt.Println("unknown:", err)
			case err != nil:
				fmt.Println(err) // keep what you have
				continue
			default:
				fmt.Println(snapshot.Endpoints[0].Addr) // an address is not asked for
			}
			break // a program goes on
		}
	}
	// Output:
	// 10.0.0.1:8080
	// [fd00::1]:80
	// unknown: discovery: the service's name is "not a name": the DNS name "not a name.internal." has other characters than letters, digits, '-', '_' and '.' (an international name has an xn-- form)
}
