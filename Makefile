# Needs Go, git, make and a C compiler (for the race detector). All else is
# fetched through Go's module proxy.

GOLANGCI    = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The modules whose tests are run. internal/consultool only pins a tool, and with
# internal/newest .ci/test runs some of the tests once more.
MODULES = . examples internal/interop

FUZZTIME = 5s

.PHONY: test lint fuzz consul bench help

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/'

test: consul ## every test of every module with the race detector; a skip fails
	@MODULES="$(MODULES)" ./.ci/test

lint: ## vet, staticcheck and golangci-lint
	@for m in $(MODULES); do (cd $$m && go vet ./... && go run $(STATICCHECK) ./... && go run $(GOLANGCI) run ./...) || exit 1; done
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }

fuzz: ## a short smoke run of every fuzz target
	@FUZZTIME=$(FUZZTIME) ./.ci/fuzz

consul: ## build the real Consul agent that the tests run, into .bin/
	@./internal/consultool/build.sh

bench: ## benchmarks of the root module
	go test -run '^$$' -bench . -benchmem ./...
