package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	maxFileEntries = 100_000 // services and endpoints together
	maxFileError   = 1000    // bytes of an error's text, which quotes the file
)

// fileTable is what a file says.
type fileTable struct {
	services map[string][]Endpoint
}

// decodeFile returns a file's table, or an error that says in which line the
// first mistake is.
func decodeFile(data []byte) (*fileTable, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("it is empty, want an object of services, {} at least")
	}
	in := fileDecoder{data: data, json: json.NewDecoder(bytes.NewReader(data))}
	at := len(data) // where the mistake is, in bytes
	err := json.Unmarshal(data, new(syntax))
	if syntaxErr := (*json.SyntaxError)(nil); errors.As(err, &syntaxErr) {
		at = int(syntaxErr.Offset)
	}
	if err == nil {
		err = in.table()
		at = in.offset
	}
	if err != nil {
		text := fmt.Sprintf("line %d: %v", 1+bytes.Count(data[:min(at, len(data))], []byte("\n")), err)
		return nil, errors.New(strings.ToValidUTF8(text[:min(len(text), maxFileError)], ""))
	}
	return &fileTable{services: in.services}, nil
}

// syntax is a target of json.Unmarshal that takes any value and leaves it
// where it is: the syntax of it all was checked before.
type syntax struct{}

func (*syntax) UnmarshalJSON([]byte) error { return nil }

// fileDecoder reads a table whose syntax was checked, token by token: it has to
// find what stands twice, and to tell where a mistake is.
type fileDecoder struct {
	data     []byte
	json     *json.Decoder
	offset   int // where what is read now begins
	entries  int
	services map[string][]Endpoint
}

func (d *fileDecoder) table() error {
	d.services = make(map[string][]Endpoint)
	return d.object("the file", func(name string) error {
		if err := validateName(name); err != nil {
			return unprefixed(err)
		}
		if _, twice := d.services[name]; twice {
			return fmt.Errorf("service %q stands twice, want each name once", name)
		}
		endpoints, err := d.endpoints()
		if err != nil {
			return fmt.Errorf("service %.100q%w", name, err)
		}
		d.services[name] = endpoints
		return d.count()
	})
}

// endpoints returns a service's. Its errors go on where "service x" ended.
func (d *fileDecoder) endpoints() ([]Endpoint, error) {
	if err := d.open('['); err != nil {
		return nil, fmt.Errorf(" is %w of endpoints", err)
	}
	endpoints := []Endpoint{}
	ids := make(map[string]bool)
	for d.json.More() {
		start := d.next()
		e, err := d.endpoint()
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", len(endpoints), err)
		}
		if ids[e.Identity()] {
			d.offset = start
			return nil, fmt.Errorf("[%d]: endpoint %q stands twice, want each ID (or addr without one) once", len(endpoints), e.Identity())
		}
		ids[e.Identity()] = true
		endpoints = append(endpoints, e)
		if err := d.count(); err != nil {
			return nil, fmt.Errorf(": %w", err)
		}
	}
	return slices.Clip(endpoints), d.close()
}

// fileEndpoint is an Endpoint of which is known whether a weight was written down.
type fileEndpoint struct {
	Endpoint
	weight *int
}

func (d *fileDecoder) endpoint() (Endpoint, error) {
	var e fileEndpoint
	var seen []string
	start := d.next()
	err := d.object("the endpoint", func(field string) error {
		if slices.Contains(seen, field) {
			return fmt.Errorf("field %q stands twice, want each once", field)
		}
		seen = append(seen, field)
		return d.field(&e, field)
	})
	if err != nil {
		return Endpoint{}, err
	}
	if e.weight != nil {
		e.Weight = *e.weight
		e.Drain = e.Drain || e.Weight == 0
	}
	if err := e.Validate(); err != nil {
		d.offset = start
		return Endpoint{}, unprefixed(err)
	}
	return e.Endpoint, nil
}

func (d *fileDecoder) field(e *fileEndpoint, field string) error {
	switch field {
	case "id":
		return d.value(field, &e.ID, "a string")
	case "addr":
		return d.value(field, &e.Addr, "a string")
	case "weight":
		return d.value(field, &e.weight, "a whole number")
	case "drain":
		return d.value(field, &e.Drain, "true or false")
	case "region":
		return d.value(field, &e.Region, "a string")
	case "zone":
		return d.value(field, &e.Zone, "a string")
	case "metadata":
		return d.value(field, &e.Metadata, "an object of strings")
	}
	return fmt.Errorf("field %q is unknown, want id, addr, weight, drain, region, zone or metadata", field)
}

// value decodes the next value. A null leaves the field as if it were not there.
func (d *fileDecoder) value(field string, into any, want string) error {
	var raw json.RawMessage
	d.next()
	if err := d.json.Decode(&raw); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("field %q is %.100s, want %s", field, raw, want)
	}
	return nil
}

// object calls each for every key of the object that comes next.
func (d *fileDecoder) object(what string, each func(key string) error) error {
	if err := d.open('{'); err != nil {
		return fmt.Errorf("%s is %w", what, err)
	}
	for d.json.More() {
		d.next()
		key, err := d.json.Token()
		if err != nil {
			return err
		}
		if err := each(key.(string)); err != nil {
			return err
		}
	}
	return d.close()
}

// open reads the beginning of an object or a list.
func (d *fileDecoder) open(want json.Delim) error {
	d.next()
	token, err := d.json.Token()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("%s, want %s", kindOf(token), kindOf(want))
	}
	return nil
}

func kindOf(token json.Token) string {
	switch token {
	case nil:
		return "null"
	case json.Delim('{'):
		return "an object"
	case json.Delim('['):
		return "a list"
	}
	return fmt.Sprintf("%.100q", fmt.Sprint(token))
}

func (d *fileDecoder) close() error {
	_, err := d.json.Token()
	return err
}

// next finds where the next token begins.
func (d *fileDecoder) next() int {
	d.offset = int(d.json.InputOffset())
	for d.offset < len(d.data) && strings.IndexByte(" \t\r\n,:", d.data[d.offset]) >= 0 {
		d.offset++
	}
	return d.offset
}

func (d *fileDecoder) count() error {
	if d.entries++; d.entries > maxFileEntries {
		return fmt.Errorf("the file has more than %d services and endpoints", maxFileEntries)
	}
	return nil
}

// unprefixed takes the package's name off an error that will get it again.
func unprefixed(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "discovery: "))
}
