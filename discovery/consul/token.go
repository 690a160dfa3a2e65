package consul

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// tokenSource returns the token of the next query; "" means none.
type tokenSource func(context.Context) (string, error)

// tokenSource chooses among c and what the environment says, in the order of
// precedence that Consul's own tools have.
func (c Config) tokenSource(envFile, envToken string) tokenSource {
	switch {
	case c.TokenSource != nil:
		return checkedToken(c.TokenSource)
	case c.TokenFile != "":
		return checkedToken(tokenFile(c.TokenFile))
	case c.Token != "":
		return fixedToken(c.Token)
	case envFile != "":
		return checkedToken(tokenFile(envFile))
	default:
		return checkedToken(fixedToken(envToken))
	}
}

func fixedToken(token string) tokenSource {
	return func(context.Context) (string, error) { return token, nil }
}

// tokenFile reads the file anew each time. An empty file is one that is just
// being rewritten, not the wish to go without a token.
func tokenFile(path string) tokenSource {
	return func(context.Context) (string, error) {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("reading the token file: %w", err)
		}
		token := strings.TrimSpace(string(data))
		if token == "" {
			return "", fmt.Errorf("the token file %s is empty", path)
		}
		return token, nil
	}
}

func checkedToken(source tokenSource) tokenSource {
	return func(ctx context.Context) (string, error) {
		token, err := source(ctx)
		if err == nil && !validToken(token) {
			err = errors.New("the token holds a character that no HTTP header may carry, want visible ASCII")
		}
		return token, err
	}
}

func validToken(token string) bool {
	return !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
}
