package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
)

// mostRead bounds what is read of an answer.
const mostRead = 64 << 10

// probe is one check.
type probe struct {
	config *Check
	target Target
}

func (p *probe) run(ctx context.Context) error {
	conn, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	switch p.config.Protocol {
	case HTTP:
		return p.http(conn)
	case GRPC:
		return p.grpc(ctx, conn)
	}
	return nil
}

func (p *probe) host() string {
	if p.target.Host != "" {
		return p.target.Host
	}
	return p.target.Addr
}

// addr is where checks go.
func (p *probe) addr() string {
	if p.config.Port == 0 {
		return p.target.Addr
	}
	host, _, err := net.SplitHostPort(p.target.Addr)
	if err != nil {
		return p.target.Addr
	}
	return net.JoinHostPort(host, strconv.Itoa(p.config.Port))
}

// connect dials, and makes the handshake where there is one.
func (p *probe) connect(ctx context.Context) (net.Conn, error) {
	dial := p.target.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", p.addr())
	if err != nil {
		return nil, err
	}
	config := p.tls()
	if config == nil {
		return conn, nil
	}
	encrypted := tls.Client(conn, config)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return encrypted, nil
}

func (p *probe) tls() *tls.Config {
	var config *tls.Config
	if p.target.TLS != nil && (p.config.TLS || p.config.Port == 0) {
		config = p.target.TLS()
	}
	switch {
	case config != nil:
		config = config.Clone()
	case p.config.TLS:
		config = &tls.Config{}
	default:
		return nil
	}
	if config.ServerName == "" {
		config.ServerName = hostname(p.host())
	}
	config.NextProtos = []string{"http/1.1"}
	if p.config.Protocol == GRPC {
		config.NextProtos = []string{"h2"}
	}
	return config
}

// hostname is host without a port, if it has one.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// http asks over HTTP/1.1 by hand: one request and the head of its answer, with
// neither pool nor redirects.
func (p *probe) http(conn net.Conn) error {
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: fairlead-health\r\nConnection: close\r\n\r\n", p.config.Path, p.host())
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, mostRead)), nil)
	if err != nil {
		return fmt.Errorf("health: no answer of HTTP: %w", err)
	}
	defer conn.Close() // before the body, which would be read to its end
	defer resp.Body.Close()
	if want := p.config.Status; want != 0 && resp.StatusCode != want || want == 0 && resp.StatusCode/100 != 2 {
		return fmt.Errorf("health: the answer's status is %d, want %s", resp.StatusCode, p.wanted())
	}
	return nil
}

func (p *probe) wanted() string {
	if p.config.Status != 0 {
		return fmt.Sprint(p.config.Status)
	}
	return "200 to 299"
}
