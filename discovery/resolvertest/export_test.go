package resolvertest

import (
	"context"
	"testing"
)

// Broken returns what each rule reports of the Subject, by the rule's name.
// around runs the check of each rule.
func Broken(t *testing.T, newSubject func() Subject, around func(name string, check func(context.Context) error)) (reports map[string]error) {
	t.Helper()
	reports = make(map[string]error)
	able, err := newSubject().filled()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.lacking(able) != "" {
			continue
		}
		around(r.name, func(ctx context.Context) error {
			s, err := newSubject().filled()
			if err == nil {
				err = r.check(ctx, s)
			}
			if err != nil {
				reports[r.name] = err
			}
			return err
		})
	}
	return reports
}

// Lacking returns why rules cannot be tested on the Subject, by the rule's name.
func Lacking(s Subject) (map[string]string, error) {
	s, err := s.filled()
	lacking := make(map[string]string)
	for _, r := range rules {
		if why := r.lacking(s); why != "" {
			lacking[r.name] = why
		}
	}
	return lacking, err
}
