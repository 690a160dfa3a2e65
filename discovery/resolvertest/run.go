package resolvertest

import (
	"testing"

	"github.com/fairlead-go/fairlead/discovery"
)

// Run checks the Resolver of newSubject against the rules of the
// [discovery.Resolver] contract, one subtest for each. newSubject is called
// once to see what the Subject can do, and then once for each rule; it ends what
// it starts by t.Cleanup.
func Run(t *testing.T, newSubject func(t *testing.T) Subject) {
	t.Helper()
	able, err := newSubject(t).filled()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if lacking := r.lacking(able); lacking != "" {
			t.Logf("not tested: %s: %s", r.name, lacking)
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			s, err := newSubject(t).filled()
			if err == nil {
				err = r.check(t.Context(), s)
			}
			if err != nil {
				t.Errorf("%v\nThe contract: %s", err, r.contract)
			}
		})
	}
}

// lacking returns why the rule cannot be tested on s, or "".
func (r rule) lacking(s Subject) string {
	_, refreshes := s.Resolver.(discovery.Refresher)
	switch {
	case r.needs&change != 0 && s.Set == nil:
		return "Subject.Set is nil"
	case r.needs&unknown != 0 && s.Unknown == "":
		return "Subject.Unknown is empty"
	case r.needs&failure != 0 && s.Fail == nil:
		return "Subject.Fail is nil"
	case r.needs&refresh != 0 && !refreshes:
		return "the Resolver is no Refresher"
	case r.needs&weights != 0 && s.Same(heavier(s.Endpoints[0]), s.Endpoints[0]):
		return "Subject.Same says that the source carries no weights"
	}
	return ""
}
