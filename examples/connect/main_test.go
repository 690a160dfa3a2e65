package main

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun makes all calls, and kills a server in the middle of the last third of them. That no
// call failed is what run itself checks.
func TestRun(t *testing.T) {
	const calls = 300
	var out strings.Builder
	if err := run(t.Context(), &out, calls); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	row := regexp.MustCompile(`(?m)^(.+?) +(POST HTTP/2\.0|GET HTTP/1\.1) +(\d+) +(\d+) +(\d+)   (\d+) calls, (\d+) errors, (\d+) retries$`)
	rows := row.FindAllStringSubmatch(out.String(), -1)
	if len(rows) != 3 {
		t.Fatalf("%d rows, want 3:\n%s", len(rows), out.String())
	}
	for i, want := range [][]string{
		{"by gRPC", "POST HTTP/2.0"}, {"by Connect", "GET HTTP/1.1"}, {"by Connect, users-2 killed halfway", "GET HTTP/1.1"},
	} {
		if got := rows[i][1:3]; !slices.Equal(got, want) {
			t.Errorf("row %d is %q, want %q", i+1, got, want)
		}
		name, n := want[0], numbers(t, rows[i][3:])
		if sum := n[0] + n[1] + n[2]; sum != calls || n[3] != calls || n[4] != 0 {
			t.Errorf("%s: %d answers, %d calls, %d errors, want %d, %d and 0", name, sum, n[3], n[4], calls, calls)
		}
		killed := i == 2
		// The breaker opens at the fifth call that the dead server refuses.
		if killed != (n[5] > 0) {
			t.Errorf("%s: %d retries", name, n[5])
		}
		for s, answers := range n[:3] {
			if answers < calls/12 || killed && s == 1 && answers > calls/4 {
				t.Errorf("%s: users-%d answered %d times of %d", name, s+1, answers, calls)
			}
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func numbers(t *testing.T, texts []string) []int {
	t.Helper()
	var ns []int
	for _, text := range texts {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		ns = append(ns, n)
	}
	return ns
}

func TestAFailedCallIsAnError(t *testing.T) {
	s, err := start("users-1")
	if err != nil {
		t.Fatal(err)
	}
	s.kill()
	var out strings.Builder
	a := &attempts{}
	plain := &http.Client{Transport: a.count(&http.Transport{})}
	err = load{&out, 3, a}.play(t.Context(), "to nobody", newClient(plain, "http://"+s.addr), nil)
	if err == nil || !strings.Contains(err.Error(), "to nobody: 3 of 3 calls failed") {
		t.Errorf("error %v, want one that tells of 3 calls", err)
	}
	if !strings.Contains(out.String(), "3 calls, 3 errors, 0 retries") {
		t.Errorf("it says %q", out.String())
	}
}
