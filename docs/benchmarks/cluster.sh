#!/usr/bin/env bash
# Measures decisions of three nodes on this machine, each decision committed, and with it the contacts it
# makes, before it is answered: the peak, then the latency at half of it. Traffic goes to loopback only.
#   cluster.sh        RATES, DATA_GROUPS, SUBSCRIBERS, DURATION, CLIENTS and ROUNDS change the size
set -euo pipefail
cd "$(dirname "$0")/../.."
groups=${DATA_GROUPS:-16} subscribers=${SUBSCRIBERS:-100000} duration=${DURATION:-8s} clients=${CLIENTS:-256} rounds=${ROUNDS:-3}
arbiter=bin/arbiter
folder=$(mktemp -d)
servers=()
stop() {
  for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${servers[@]}"; do wait "$pid" 2>/dev/null || true; done
  servers=()
}
trap 'stop; rm -rf "$folder"' EXIT

echo "machine   $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo), $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2/1048576}' /proc/meminfo), $(uname -sr)"
echo "commit    $(git describe --always --dirty), $(go version | cut -d' ' -f3)"
echo "load      $(cut -d' ' -f1-3 /proc/loadavg)"

# The demo fills the folders; then the nodes run by themselves.
first=$((20000 + RANDOM % 20000)) # likely free; the program says so if not
"$arbiter" dev --nodes 3 --no-demo --data-groups "$groups" --subscribers "$subscribers" --data "$folder" --addr 127.0.0.1:$first >"$folder/dev.log" 2>&1 &
servers=($!)
until grep -q 'Ctrl-C ends them all' "$folder/dev.log"; do
  kill -0 "${servers[0]}" 2>/dev/null || { cat "$folder/dev.log" >&2; exit 1; }
  sleep 0.1
done
stop
members=n1=127.0.0.1:$((first + 2)),n2=127.0.0.1:$((first + 12)),n3=127.0.0.1:$((first + 22))
for i in 1 2 3; do
  at=$((first + 10 * (i - 1)))
  "$arbiter" server --data "$folder/n$i" --node-id n$i --cluster-id dev --nodes "$members" --addr 127.0.0.1:$at --admin-addr 127.0.0.1:$((at + 1)) --log-level warn >"$folder/n$i.out" 2>&1 &
  servers+=($!)
done
for i in 1 2 3; do
  until curl -fsS -o /dev/null "http://127.0.0.1:$((first + 10 * (i - 1) + 1))/readyz" 2>/dev/null; do sleep 0.05; done
done
bench() { "$arbiter" bench decide --addr 127.0.0.1:$first --also 127.0.0.1:$((first + 10)) --also 127.0.0.1:$((first + 20)) --subjects "$subscribers" --duration "$duration" "$@"; }

echo; echo "== peak, $clients clients over three nodes"
peaks=()
for _ in $(seq "$rounds"); do
  bench --closed --clients "$clients" -o json >"$folder/peak.json"
  peaks+=("$(grep -oE '"rate": *[0-9.]+' "$folder/peak.json" | head -n 1 | grep -oE '[0-9]+' | head -n 1)")
  echo "${peaks[-1]} decisions/s"
done
peak=$(printf '%s\n' "${peaks[@]}" | sort -n | sed -n "$(((rounds + 1) / 2))p")
for rate in $((peak / 2)) ${RATES:-1000 2000}; do
  echo; echo "== open loop at $rate/s (half of the peak is $((peak / 2))/s)"
  for _ in $(seq "$rounds"); do bench --rate "$rate"; done
done
