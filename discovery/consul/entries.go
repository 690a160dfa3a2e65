package consul

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fairlead-go/fairlead/discovery"
)

const (
	maxEntries  = 100_000
	maxProblems = 16 // told of one answer
)

// entries are those of one answer of /v1/health/service/:service.
type entries struct {
	endpoints []discovery.Endpoint // those not critical, each ID once, sorted by ID
	problems  []string             // why others are not among them
	total     int                  // all elements, whatever became of them
	size      int                  // bytes of JSON
}

// decode reads a JSON array, one element after the other into the same entry,
// so that a large answer costs what its endpoints need. A malformed element is
// skipped; what is no list of elements at all is an error.
func (in *entries) decode(data []byte) error {
	*in = entries{size: len(data)}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if start, err := decoder.Token(); err != nil || start != json.Delim('[') {
		return notArray(start, err)
	}
	var e entry
	for decoder.More() {
		if in.total++; in.total > maxEntries {
			return fmt.Errorf("the answer has more than %d entries", maxEntries)
		}
		e.reset()
		if err := in.add(&e, decoder.Decode(&e)); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return whole(err)
	}
	in.merge()
	return nil
}

func notArray(start json.Token, err error) error {
	if err != nil {
		return whole(err)
	}
	return fmt.Errorf("the answer begins with %.20q, want a JSON array of entries", fmt.Sprint(start))
}

// whole makes an early end the error that it is.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// add takes one element in. It returns only errors that end the decoding.
func (in *entries) add(e *entry, err error) error {
	var wrongType *json.UnmarshalTypeError
	if err != nil && !errors.As(err, &wrongType) {
		return whole(err)
	}
	var endpoint *discovery.Endpoint
	if err == nil {
		endpoint, err = e.endpoint()
	}
	switch {
	case err != nil:
		in.problem("entry %q: %v", e.id(), err)
	case endpoint != nil:
		in.endpoints = append(in.endpoints, *endpoint)
	}
	return nil
}

// merge sorts the endpoints, and keeps the first of those with one ID.
func (in *entries) merge() {
	slices.SortStableFunc(in.endpoints, func(a, b discovery.Endpoint) int { return strings.Compare(a.ID, b.ID) })
	in.endpoints = slices.CompactFunc(in.endpoints, func(a, b discovery.Endpoint) bool {
		if a.ID == b.ID {
			in.problem("entry %q stands more than once", a.ID)
		}
		return a.ID == b.ID
	})
}

func (in *entries) problem(format string, args ...any) {
	if len(in.problems) < maxProblems {
		in.problems = append(in.problems, fmt.Sprintf(format, args...))
	}
}
