package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	frameHead = 5    // of a gRPC message: whether it is compressed, and its length
	mostFrame = 4096 // of a health check's answer, which has three bytes

	statusUnimplemented = 12
	serving             = 1
)

// errDialled is why a check has but one connection.
var errDialled = errors.New("health: the connection is lost")

// grpc asks by gRPC's protocol (PROTOCOL-HTTP2.md) and its health service
// (health-checking.md), over net/http, so that a user of HTTP alone does not link
// gRPC for its checks.
func (p *probe) grpc(ctx context.Context, conn net.Conn) error {
	var used atomic.Bool
	dial := func(context.Context, string, string) (net.Conn, error) {
		if used.Swap(true) {
			return nil, errDialled
		}
		return conn, nil
	}
	t := &http.Transport{DialContext: dial, DialTLSContext: dial, Protocols: new(http.Protocols), MaxResponseHeaderBytes: mostRead}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.host()+"/grpc.health.v1.Health/Check", bytes.NewReader(frame(question(p.config.Service))))
	if err != nil {
		return err
	}
	if p.tls() != nil {
		req.URL.Scheme = "https"
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("User-Agent", "fairlead-health")
	resp, err := t.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("health: no answer of gRPC: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: the answer's HTTP status is %d, want 200", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, frameHead+mostFrame+1))
	if err != nil {
		return fmt.Errorf("health: the answer of gRPC broke off: %w", err)
	}
	return answer(resp, body)
}

// answer is what a whole answer says.
func answer(resp *http.Response, body []byte) error {
	code := resp.Trailer.Get("Grpc-Status")
	text := resp.Trailer.Get("Grpc-Message")
	if code == "" { // an answer without a message has its status in the header
		code, text = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	switch n, err := strconv.Atoi(code); {
	case err != nil:
		return fmt.Errorf("health: the answer's grpc-status is %q, want a number", code)
	case n == statusUnimplemented:
		return nil
	case n != 0:
		return fmt.Errorf("health: the answer's grpc-status is %d (%.200q), want 0", n, text)
	}
	message, err := unframe(body)
	if err != nil {
		return err
	}
	switch status, err := servingStatus(message); {
	case err != nil:
		return err
	case status != serving:
		return fmt.Errorf("health: the serving status is %d, want %d (SERVING)", status, serving)
	}
	return nil
}

// question is a HealthCheckRequest.
func question(service string) []byte {
	if service == "" {
		return nil
	}
	return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), service)
}

// servingStatus reads a HealthCheckResponse.
func servingStatus(message []byte) (status uint64, err error) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return 0, fmt.Errorf("health: the answer cannot be read: %w", protowire.ParseError(n))
		}
		message = message[n:]
		if number == 1 && kind == protowire.VarintType {
			status, n = protowire.ConsumeVarint(message)
		} else {
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return 0, fmt.Errorf("health: the answer cannot be read: %w", protowire.ParseError(n))
		}
		message = message[n:]
	}
	return status, nil
}

func frame(message []byte) []byte {
	framed := make([]byte, frameHead, frameHead+len(message))
	binary.BigEndian.PutUint32(framed[1:], uint32(len(message)))
	return append(framed, message...)
}

// unframe returns the message of a body that is one frame.
func unframe(body []byte) ([]byte, error) {
	switch {
	case len(body) < frameHead:
		return nil, fmt.Errorf("health: the answer has %d bytes, want a message of gRPC", len(body))
	case body[0] != 0:
		return nil, errors.New("health: the answer is compressed, which was not asked for")
	}
	if n := binary.BigEndian.Uint32(body[1:]); n != uint32(len(body)-frameHead) {
		return nil, fmt.Errorf("health: the answer's message should have %d bytes and has %d", n, len(body)-frameHead)
	}
	return body[frameHead:], nil
}
