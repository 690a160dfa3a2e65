package tracing

import (
	"net/url"
	"strings"
)

const redacted = "REDACTED"

var redactedUser = url.UserPassword(redacted, redacted)

// secretParams are the query parameters whose values are credentials: those of
// the semantic conventions for url.full, the rest of AWS Signature Version 4,
// and the access token of RFC 6750, section 2.3.
var secretParams = [...]string{
	"AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature",
	"X-Amz-Credential", "X-Amz-Security-Token", "X-Amz-Signature",
	"access_token",
}

// fullURL returns a URL for url.full: without its user's name and password, its
// secrets and its fragment, which is never sent and may hold a token as well.
func fullURL(u *url.URL) string {
	clean := *u
	clean.Fragment, clean.RawFragment = "", ""
	clean.RawQuery = redactQuery(u.RawQuery)
	clean.Opaque = redactOpaque(u.Opaque)
	if u.User != nil {
		clean.User = redactedUser
	}
	return clean.String()
}

// redactOpaque takes the user out of an opaque URL that has an authority all
// the same, as some callers of net/http write it.
func redactOpaque(opaque string) string {
	rest, ok := strings.CutPrefix(opaque, "//")
	if !ok {
		return opaque
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndexByte(rest[:end], '@')
	if at < 0 {
		return opaque
	}
	return "//" + redacted + ":" + redacted + rest[at:]
}

// redactQuery replaces the values of secret parameters. It returns the query
// itself if there are none.
func redactQuery(query string) string {
	var b strings.Builder
	done := 0 // what is before it was written
	for start := 0; start < len(query); {
		end := start + paramLen(query[start:])
		name, value, ok := strings.Cut(query[start:end], "=")
		if ok && value != "" && isSecret(name) {
			b.WriteString(query[done : start+len(name)+1])
			b.WriteString(redacted)
			done = end
		}
		start = end + 1
	}
	if done == 0 {
		return query
	}
	b.WriteString(query[done:])
	return b.String()
}

// paramLen returns the length of the first parameter. A semicolon separates
// too: to net/http it does not, to many a server it does.
func paramLen(query string) int {
	if end := strings.IndexAny(query, "&;"); end >= 0 {
		return end
	}
	return len(query)
}

// isSecret reports whether a parameter holds a credential, however its name is
// escaped and whatever its case.
func isSecret(name string) bool {
	if strings.ContainsAny(name, "%+") {
		plain, err := url.QueryUnescape(name)
		if err != nil {
			return false
		}
		name = plain
	}
	for _, secret := range secretParams {
		if strings.EqualFold(name, secret) {
			return true
		}
	}
	return false
}
