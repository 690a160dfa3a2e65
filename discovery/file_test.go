package discovery_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-go/fairlead/discovery"
)

const (
	oneUser  = `{"users": [{"addr": "a:1"}]}`
	twoUsers = `{"users": [{"addr": "a:1"}, {"addr": "b:1"}]}`
)

// put writes a file in place.
func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// swap replaces a file by renaming another over it.
func swap(t *testing.T, path, content string) {
	t.Helper()
	put(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// quietFile is a FileResolver that logs nowhere.
func quietFile(path string) *discovery.FileResolver {
	f := discovery.File(path)
	f.Logger = slog.New(slog.DiscardHandler)
	return f
}

// inFile runs a test in a bubble, with the path of a file that is not there yet.
// File I/O is not durably blocked, so time stands still meanwhile.
func inFile(t *testing.T, f func(t *testing.T, path string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, filepath.Join(t.TempDir(), "services.json")) })
}

func TestFileFollows(t *testing.T) {
	inFile(t, func(t *testing.T, path string) {
		put(t, path, oneUser)
		r := quietFile(path)
		users, nobody := record(t, r, "users"), record(t, r, "nobody")
		users.came("a:1")
		nobody.came("unknown")
		put(t, path, twoUsers)
		time.Sleep(time.Second - 1)
		users.came()
		time.Sleep(time.Nanosecond)
		users.came("a:1 b:1")
		swap(t, path, `{"users": [{"addr": "b:1"}, {"addr": "a:1"}], "nobody": []}`)
		time.Sleep(time.Second)
		users.came()
		nobody.came("empty")
		swap(t, path, `{}`)
		time.Sleep(time.Second)
		users.came("empty")
		nobody.came()
		record(t, r, "users").came("unknown")
	})
}

func TestFileInterval(t *testing.T) {
	inFile(t, func(t *testing.T, path string) {
		put(t, path, oneUser)
		r := quietFile(path)
		r.Interval = time.Hour
		l := record(t, r, "users")
		l.came("a:1")
		put(t, path, twoUsers)
		time.Sleep(time.Hour - 1)
		l.came()
		time.Sleep(time.Nanosecond)
		l.came("a:1 b:1")
		// Refresh looks at once, and again after a second.
		time.Sleep(time.Minute)
		put(t, path, oneUser)
		r.Refresh("users")
		l.came("a:1")
		put(t, path, twoUsers)
		for range 100 {
			r.Refresh("users")
		}
		time.Sleep(time.Second - 1)
		l.came()
		time.Sleep(time.Nanosecond)
		l.came("a:1 b:1")
	})
}

// Kubernetes swaps the symbolic link ..data that the file's own link goes through.
func TestFileFollowsSymbolicLinks(t *testing.T) {
	inFile(t, func(t *testing.T, path string) {
		dir := filepath.Dir(path)
		link := func(version, content string) {
			if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, version, "services.json"), content)
			if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		link("..1", oneUser)
		if err := os.Symlink(filepath.Join("..data", "services.json"), path); err != nil {
			t.Fatal(err)
		}
		l := record(t, quietFile(path), "users")
		l.came("a:1")
		time.Sleep(time.Minute)
		// The same size and time: it is another file all the same.
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		link("..2", strings.Replace(oneUser, "a:1", "b:1", 1))
		if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		l.came("b:1")
	})
}

// A change that leaves no trace in the file's time is seen within 2 s of the
// change before; after that the file is not read as long as nothing shows.
func TestFileTime(t *testing.T) {
	inFile(t, func(t *testing.T, path string) {
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		putAt := func(content string) {
			put(t, path, content)
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
		with := func(addr string) string { return strings.Replace(oneUser, "a:1", addr, 1) }
		putAt(with("a:1"))
		l := record(t, quietFile(path), "users")
		l.came("a:1")
		for _, addr := range []string{"b:1", "c:1"} { // after 1 s, and at 2 s
			putAt(with(addr))
			time.Sleep(time.Second)
			l.came(addr)
		}
		putAt(with("d:1"))
		time.Sleep(time.Minute)
		l.came()
		at = at.Add(time.Nanosecond)
		putAt(with("d:1"))
		time.Sleep(time.Second)
		l.came("d:1")
	})
}

func TestFileTrouble(t *testing.T) {
	big := func(t *testing.T, path string) {
		put(t, path, "{}")
		if err := os.Truncate(path, discovery.MaxFile+1); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  string
	}{
		{"missing", func(*testing.T, string) {}, "no such file"},
		{"empty", func(t *testing.T, path string) { put(t, path, "") }, "it is empty"},
		{"half written", func(t *testing.T, path string) { put(t, path, twoUsers[:30]) }, "line 1: unexpected end of JSON input"},
		{"garbage", func(t *testing.T, path string) { put(t, path, "{\n\n  users: []}") }, "line 3: invalid character 'u'"},
		{"a directory", func(_ *testing.T, path string) { _ = os.Mkdir(path, 0o700) }, "want a regular file"},
		{"a FIFO", func(_ *testing.T, path string) { _ = syscall.Mkfifo(path, 0o600) }, "want a regular file"},
		{"a device", func(_ *testing.T, path string) { _ = os.Symlink("/dev/zero", path) }, "want a regular file"},
		{"a dangling link", func(_ *testing.T, path string) { _ = os.Symlink("nowhere", path) }, "no such file"},
		{"a link to itself", func(_ *testing.T, path string) { _ = os.Symlink(path, path) }, "too many levels"},
		{"too large", big, "larger than 64 MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inFile(t, func(t *testing.T, path string) {
				tt.spoil(t, path)
				r := quietFile(path)
				first := record(t, r, "users")
				trouble := first.one()
				if !strings.HasPrefix(trouble, "!discovery: ") || !strings.Contains(trouble, tt.want) || !strings.Contains(trouble, path) {
					t.Errorf("came %q, want an error with the path and %q", trouble, tt.want)
				}
				time.Sleep(time.Minute)
				first.came() // it is said once
				remove(t, path)
				swap(t, path, oneUser)
				time.Sleep(time.Second)
				first.came("a:1")

				remove(t, path)
				tt.spoil(t, path)
				time.Sleep(time.Minute)
				first.came(trouble) // and what was known stands
				record(t, r, "users").came("a:1", trouble)
				record(t, r, "orders").came(trouble) // it may be in what cannot be read
				remove(t, path)
				swap(t, path, oneUser)
				time.Sleep(time.Second)
				first.came("a:1") // it is true again
				record(t, r, "orders").came("unknown")
			})
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// one returns what was yielded since the last call, which must be one thing.
func (l *log) one() string {
	l.t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.words) != 1 {
		l.t.Fatalf("came %q, want one", l.words)
	}
	word := l.words[0]
	l.words = nil
	return word
}

// Another mistake is another error.
func TestFileOtherTrouble(t *testing.T) {
	inFile(t, func(t *testing.T, path string) {
		put(t, path, "x")
		l := record(t, quietFile(path), "users")
		if first := l.one(); !strings.Contains(first, "'x'") {
			t.Errorf("came %q, want an error about x", first)
		}
		put(t, path, "y")
		time.Sleep(time.Second)
		if second := l.one(); !strings.Contains(second, "'y'") {
			t.Errorf("came %q, want an error about y", second)
		}
	})
}

// All watches share what was read.
func TestFileIsSharedByItsWatches(t *testing.T) {
	inFile(t, func(t *testing.T, path string) {
		put(t, path, oneUser)
		r := quietFile(path)
		record(t, r, "others")
		synctest.Wait()
		var first []discovery.Endpoint
		for range 10 {
			for s := range r.Watch(t.Context(), "users") {
				if first == nil {
					first = s.Endpoints
				}
				if &s.Endpoints[0] != &first[0] {
					t.Error("two watches of an unchanged file share nothing")
				}
				break
			}
		}
	})
}

// Nothing is believed that was read before a pause.
func TestFileIsLookedAtAgain(t *testing.T) {
	inFile(t, func(t *testing.T, path string) {
		r := quietFile(path)
		for _, content := range []string{oneUser, twoUsers, oneUser} {
			put(t, path, content)
			l := record(t, r, "users")
			want := "a:1"
			if content == twoUsers {
				want = "a:1 b:1"
			}
			l.came(want)
			l.stop()
			synctest.Wait()
			r.Refresh("users") // nobody is there
			time.Sleep(time.Minute)
		}
	})
}

func TestFileLogsChanges(t *testing.T) {
	inFile(t, func(t *testing.T, path string) {
		var out bytes.Buffer
		r := discovery.File(path)
		r.Logger = slog.New(slog.NewTextHandler(&out, nil))
		for range 3 {
			record(t, r, "users")
		}
		time.Sleep(time.Minute)
		swap(t, path, oneUser) // the file is looked at in this very moment
		time.Sleep(time.Minute)
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[1], "level=INFO") {
			t.Errorf("logged %q, want a warning and its end", lines)
		}
	})
}

func TestFileValidate(t *testing.T) {
	interval := func(d time.Duration) *discovery.FileResolver {
		f := discovery.File("services.json")
		f.Interval = d
		return f
	}
	refuses(t, "missing file", discovery.File("nowhere.json").Validate(), nil)
	refuses(t, "no path", discovery.File("").Validate(), []string{"path", "empty"})
	refuses(t, "negative", interval(-1).Validate(), []string{"Interval", "-1ns", "10ms", "1h"})
	refuses(t, "too short", interval(time.Millisecond).Validate(), []string{"Interval", "1ms"})
	refuses(t, "too long", interval(2*time.Hour).Validate(), []string{"Interval", "2h"})
	refuses(t, "shortest", interval(10*time.Millisecond).Validate(), nil)
	refuses(t, "longest", interval(time.Hour).Validate(), nil)
	inFile(t, func(t *testing.T, _ string) {
		l := record(t, interval(-1), "users")
		time.Sleep(time.Hour)
		if word := l.one(); !strings.Contains(word, "Interval") {
			t.Errorf("came %q, want the error of Validate", word)
		}
	})
}

func ExampleFile() {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("fairlead-example-%d.json", os.Getpid()))
	defer os.Remove(path)
	_ = os.WriteFile(path, []byte(`{"users": [{"addr": "10.0.0.1:8080", "weight": 3}, {"addr": "10.0.0.2:8080", "weight": 0}]}`), 0o600)

	resolver := discovery.File(path)
	for snapshot, err := range resolver.Watch(context.Background(), "users") {
		if err != nil {
			fmt.Println(err) // keep what you have
			continue
		}
		for _, e := range snapshot.Endpoints {
			fmt.Println(e.Addr, e.EffectiveWeight(), e.Drain)
		}
		break // a program goes on
	}
	// Output:
	// 10.0.0.1:8080 3 false
	// 10.0.0.2:8080 1 true
}
