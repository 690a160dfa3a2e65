package tracing_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/fairlead-go/fairlead/tracing"
)

// urlFull returns what an attempt tells of a URL.
func urlFull(t testing.TB, u *url.URL) string {
	t.Helper()
	info := usersInfo(t)
	info.Request = &http.Request{Method: http.MethodGet, URL: u}
	return attributes(newRig(t).attempt(t, info, tracing.Verdict{}))["url.full"]
}

func TestURLIsRedacted(t *testing.T) {
	tests := map[string]struct{ url, want string }{
		"nothing to hide": {"http://users/v1/42?b=2&a=1", "http://users/v1/42?b=2&a=1"},
		"user":            {"http://ann:secret@users/", "http://REDACTED:REDACTED@users/"},
		"name alone":      {"http://ann@users/", "http://REDACTED:REDACTED@users/"},
		"fragment":        {"http://users/#access_token=secret", "http://users/"},
		"Azure":           {"http://users/?sv=1&sig=secret&se=2", "http://users/?sv=1&sig=REDACTED&se=2"},
		"AWS":             {"http://users/?AWSAccessKeyId=secret&Signature=secret", "http://users/?AWSAccessKeyId=REDACTED&Signature=REDACTED"},
		"AWS version 4": {
			"http://users/?X-Amz-Date=1&X-Amz-Credential=secret&X-Amz-Signature=secret&X-Amz-Security-Token=secret",
			"http://users/?X-Amz-Date=1&X-Amz-Credential=REDACTED&X-Amz-Signature=REDACTED&X-Amz-Security-Token=REDACTED",
		},
		"Google":         {"http://users/?X-Goog-Signature=secret", "http://users/?X-Goog-Signature=REDACTED"},
		"bearer":         {"http://users/?access_token=secret", "http://users/?access_token=REDACTED"},
		"case":           {"http://users/?SIG=secret", "http://users/?SIG=REDACTED"},
		"escaped name":   {"http://users/?s%69g=secret", "http://users/?s%69g=REDACTED"},
		"twice":          {"http://users/?sig=secret&sig=secret", "http://users/?sig=REDACTED&sig=REDACTED"},
		"equals inside":  {"http://users/?sig=secret=secret", "http://users/?sig=REDACTED"},
		"semicolon":      {"http://users/?a=1;sig=secret", "http://users/?a=1;sig=REDACTED"},
		"no value":       {"http://users/?sig&sig=&x", "http://users/?sig&sig=&x"},
		"part of a name": {"http://users/?design=1&sigma=2", "http://users/?design=1&sigma=2"},
		"broken escape":  {"http://users/?%zz=1&sig=secret", "http://users/?%zz=1&sig=REDACTED"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u, err := url.Parse(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			before := *u
			if got := urlFull(t, u); got != tt.want {
				t.Errorf("url.full %q, want %q", got, tt.want)
			}
			if *u != before {
				t.Error("the request's URL was changed")
			}
		})
	}
}

func TestOpaqueURLIsRedacted(t *testing.T) {
	u := &url.URL{Scheme: "http", Host: "users", Opaque: "//ann:secret@users/%2f?sig=1"}
	if got, want := urlFull(t, u), "http://REDACTED:REDACTED@users/%2f?sig=1"; got != want {
		t.Errorf("url.full %q, want %q", got, want)
	}
}

// FuzzURL looks for a URL whose secrets get through.
func FuzzURL(f *testing.F) {
	const secret = "s3cr3t"
	for _, seed := range []string{"", "a=1", "a=1&b=2", "a;b", "%zz", "sig", "=&=", "sig=&"} {
		f.Add("/v1", seed, seed)
	}
	f.Fuzz(func(t *testing.T, path, before, after string) {
		if strings.Contains(path+before+after, secret) {
			return
		}
		u := &url.URL{
			Scheme: "http", Host: "users", Path: path,
			User:     url.UserPassword(secret, secret),
			RawQuery: before + "&sig=" + secret + "&" + after,
		}
		got := urlFull(t, u)
		if strings.Contains(got, secret) {
			t.Errorf("url.full %q has the secret", got)
		}
		if !strings.Contains(got, "&sig=REDACTED&") {
			t.Errorf("url.full %q lost the parameter", got)
		}
	})
}
