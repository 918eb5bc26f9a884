#!/usr/bin/env bash
# Measures the figures of docs/benchmarks/README.md on this machine and prints them.
#   run.sh            everything
#   run.sh go         the in-process benchmarks
#   run.sh http       decisions over HTTP against a constant handler, restart and memory
# SUBSCRIBERS, DURATION, CLIENTS and ROUNDS change the size. Traffic goes to loopback only.
set -euo pipefail
cd "$(dirname "$0")/../.."
part=${1:-all}
subscribers=${SUBSCRIBERS:-100000} duration=${DURATION:-8s} clients=${CLIENTS:-64} rounds=${ROUNDS:-5}
port=$((20000 + RANDOM % 20000)) # likely free; the program says so if not
api=127.0.0.1:$port admin=127.0.0.1:$((port + 1))
arbiter=bin/arbiter

machine() {
  echo "machine   $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo), $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2/1048576}' /proc/meminfo), $(uname -sr)"
  echo "commit    $(git describe --always --dirty), $(go version | cut -d' ' -f3)"
  echo "load      $(cut -d' ' -f1-3 /proc/loadavg)"
}

in_process() {
  echo; echo "== in process: go test -bench, 5 rounds"
  go test -run '^$' -bench 'Decide/read' -benchtime 1s -count 5 -cpu 1 ./cluster/node
  go test -run '^$' -bench 'Decide/recorded' -benchtime 2s -count 3 -cpu 2 ./cluster/node
  go test -run '^$' -bench 'GuestCall|Score' -benchtime 0.5s -count 5 -cpu 1 ./plugins/serving
  go test -run '^$' -bench 'Import' -benchtime 2s -count 3 -cpu 2 ./cluster/router ./cluster/importer
  go test -run '^$' -bench . -benchtime 0.3s -count 3 -cpu 1 ./cluster/store/record ./plugins/compiler ./runtime/expr
}

server=""
stop() { if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; server=""; fi; }
trap stop EXIT

# start COMMAND… waits until the node is ready and prints how long that took, in milliseconds.
start() {
  local began=$(date +%s%N)
  "$arbiter" "$@" --addr "$api" --admin-addr "$admin" >"$folder/log" 2>&1 &
  server=$!
  until kill -0 "$server" 2>/dev/null && curl -fsS -o /dev/null "http://$admin/readyz" 2>/dev/null; do
    kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
    sleep 0.01
  done
  echo "$(( ($(date +%s%N) - began) / 1000000 ))" >"$folder/ready-ms"
}
resident() { awk '/VmRSS|VmHWM/ {printf "%s %d MB  ", $1, $2/1024}' "/proc/$server/status"; echo; }

over_http() {
  folder=$(mktemp -d); trap 'stop; rm -rf "$folder"' EXIT
  echo; echo "== HTTP on one node, $subscribers subjects: peak against a constant handler, in turns"
  start dev --no-demo --subscribers "$subscribers" --data "$folder/data"
  echo "first start with import, ready after $(cat "$folder/ready-ms") ms"
  "$arbiter" bench decide --addr "http://$api" --closed --baseline --clients "$clients" --subjects "$subscribers" --duration "$duration" --rounds "$rounds"
  echo; echo "== the same, decisions that are not recorded"
  "$arbiter" bench decide --addr "http://$api" --closed --baseline --clients "$clients" --subjects "$subscribers" --duration "$duration" --rounds 3 --simulate
  peak=$("$arbiter" bench decide --addr "http://$api" --closed --clients "$clients" --subjects "$subscribers" --duration "$duration" -o json | grep -oE '"rate": *[0-9.]+' | head -n 1 | grep -oE '[0-9]+' | head -n 1)
  echo; echo "== open loop at half of the peak ($peak/s)"
  for _ in 1 2 3; do
    "$arbiter" bench decide --addr "http://$api" --rate $((peak / 2)) --subjects "$subscribers" --duration "$duration"
  done
  echo "memory under load: $(resident)"
  stop
  echo; echo "== restart with $subscribers subjects on disk"
  for _ in 1 2 3; do
    start server --data "$folder/data"
    echo "ready after $(cat "$folder/ready-ms") ms   $(resident)"
    stop
  done
}

machine
case $part in
  all) in_process; over_http ;;
  go) in_process ;;
  http) over_http ;;
  *) echo "usage: run.sh [go|http]" >&2; exit 2 ;;
esac
