package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// services are the two services: each answers something by itself, and something
// for which it asks the other.
var services = map[string]func(id string, client *http.Client) http.Handler{
	"users": func(id string, client *http.Client) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /name", say("Ada", id))
		mux.HandleFunc("GET /profile", ask(client, "http://orders/count", id))
		return mux
	},
	"orders": func(id string, client *http.Client) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /count", say("7", id))
		mux.HandleFunc("GET /receipt", ask(client, "http://users/name", id))
		return mux
	},
}

// say answers with what it knows, and who says so.
func say(what, id string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "%s from %s", what, id)
	}
}

// ask answers with what the other service says, and who asked. The call ends
// when the caller's does.
func ask(client *http.Client, url, id string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := get(r.Context(), client, url)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = fmt.Fprintf(w, "%s by way of %s", answer, id)
	}
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s: %s", url, resp.Status, answer)
	}
	return string(answer), err
}
