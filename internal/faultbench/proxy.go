package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// proxies is the main function of the process of toxiproxies. They are not in the
// bench's own, where what they leave behind would look like leaks of the Mesh.
func proxies() {
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	obey(answer{}, func(c command) (answer, error) {
		name := strconv.Itoa(c.Slot)
		if c.Do == "open" {
			p := toxiproxy.NewProxy(api, name, "127.0.0.1:0", c.Addr)
			err := api.Collection.Add(p, true)
			return answer{Addr: p.Listen}, err
		}
		p, err := api.Collection.Get(name)
		if err != nil {
			return answer{}, err
		}
		switch c.Do {
		case "poison":
			return answer{}, poisonProxy(p, c.Toxic)
		case "heal":
			p.Toxics.ResetToxics(context.Background())
			return answer{}, nil
		}
		return answer{}, fmt.Errorf("unknown command %q", c.Do)
	})
}

func poisonProxy(p *toxiproxy.Proxy, t *Toxic) error {
	ways := []string{"downstream"}
	if t.Both {
		ways = []string{"upstream", "downstream"}
	}
	for _, way := range ways {
		text, err := json.Marshal(map[string]any{"type": t.Type, "stream": way, "attributes": t.Attributes})
		if err != nil {
			return err
		}
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(string(text))); err != nil {
			return err
		}
	}
	return nil
}
