# Needs Go, git, make and a C compiler (for the race detector). All else is
# fetched through Go's module proxy.

GOLANGCI    = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The modules whose tests are run. internal/consultool only pins a tool, and with
# internal/newest .ci/test runs some of the tests once more. It runs those of
# internal/faultbench and internal/bench too, which like these are no part of the
# workspace.
MODULES = . examples internal/interop

FUZZTIME = 5s

# Of the fault bench: SEED and RUN (a regular expression of scenarios) may be given.
SOAK       = 10m
FAULTBENCH = cd internal/faultbench && GOWORK=off go run

BENCH = cd internal/bench && GOWORK=off go run .

.PHONY: test lint fuzz consul bench faults soak help

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/'

test: consul ## every test of every module with the race detector; a skip fails
	@MODULES="$(MODULES)" ./.ci/test

lint: ## vet, staticcheck and golangci-lint
	@for m in $(MODULES); do (cd $$m && go vet ./... && go run $(STATICCHECK) ./... && go run $(GOLANGCI) run ./...) || exit 1; done
	@export GOWORK=off; for m in internal/faultbench internal/bench; do (cd $$m && go vet ./... && go run $(STATICCHECK) ./... && go run $(GOLANGCI) run ./...) || exit 1; done
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }

fuzz: ## a short smoke run of every fuzz target
	@FUZZTIME=$(FUZZTIME) ./.ci/fuzz

consul: ## build the real Consul agent that the tests run, into .bin/
	@./internal/consultool/build.sh

bench: ## us beside our peers: 10 minutes, into docs/benchmarks.md; RUN chooses sections, which are only printed
	@$(BENCH) $(if $(RUN),-run '$(RUN)',-out ../../docs/benchmarks.md)

faults: consul ## endpoints fail in all ways we know, and bounds must hold: 10 minutes, see internal/faultbench
	@$(FAULTBENCH) . $(if $(SEED),-seed $(SEED)) $(if $(RUN),-run '$(RUN)')

soak: consul ## random faults under 64 callers with the race detector, for SOAK = 10m
	@$(FAULTBENCH) -race . $(if $(SEED),-seed $(SEED)) -soak $(SOAK)
