#!/bin/sh
# Builds the Consul agent that the tests run, into .bin/consul below the
# repository's root. Does nothing if it is up to date; says every 20 s that it
# is still alive. Needs Go, git, a C compiler and a Go module proxy.
set -eu

cd "$(dirname "$0")"
bin=$(cd ../.. && pwd)/.bin
stamp=$(cat go.mod go.sum build.sh | git hash-object --stdin)-$(GOWORK=off go env GOVERSION)

if [ -x "$bin/consul" ] && [ "$(cat "$bin/consul.stamp" 2>/dev/null)" = "$stamp" ]; then
	echo "consul: .bin/consul is up to date"
	exit 0
fi

mkdir -p "$bin"
version=$(GOWORK=off GOFLAGS=-mod=readonly go list -m -f '{{.Version}}' github.com/hashicorp/consul)
new=$bin/consul.new.$$
echo "consul: building $version into .bin/consul: 4 to 10 minutes the first time, seconds after"
GOWORK=off GOFLAGS='-mod=readonly -buildvcs=false' go build -ldflags '-s -w' -o "$new" github.com/hashicorp/consul &
build=$!
trap 'kill "$build" 2>/dev/null || :; rm -f "$new"' EXIT
trap 'exit 130' INT TERM

seconds=0
while kill -0 "$build" 2>/dev/null; do
	sleep 1
	seconds=$((seconds + 1))
	if [ $((seconds % 20)) -eq 0 ]; then
		echo "consul: still building, $seconds s"
	fi
done
wait "$build" || {
	echo "consul: the build failed" >&2
	exit 1
}
mv "$new" "$bin/consul"
echo "$stamp" >"$bin/consul.stamp"
echo "consul: built in $seconds s: $("$bin/consul" version | head -n 1)"
