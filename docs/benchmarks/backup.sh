#!/usr/bin/env bash
# Measures a backup of three nodes on this machine while they decide, the next one, and a restore into a new
# cluster of another size until it serves. Traffic goes to loopback only.
#   backup.sh         SUBSCRIBERS, DATA_GROUPS, RATE (decisions a second meanwhile), NODES and GROUPS (of the new cluster) change the size
set -euo pipefail
cd "$(dirname "$0")/../.."
groups=${DATA_GROUPS:-16} subscribers=${SUBSCRIBERS:-1000000} rate=${RATE:-500} nodes=${NODES:-3} into=${GROUPS_INTO:-16}
arbiter=${ARBITER:-bin/arbiter}
folder=$(mktemp -d)
servers=()
stop() {
  for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${servers[@]}"; do wait "$pid" 2>/dev/null || true; done
  servers=()
}
trap 'stop; rm -rf "$folder"' EXIT
took() { local began=$EPOCHREALTIME; "$@" >"$folder/out" 2>&1 || { cat "$folder/out" >&2; exit 1; }; cat "$folder/out"; awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN {printf "  %.1f s\n", b-a}'; }

echo "machine   $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo), $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2/1048576}' /proc/meminfo), $(uname -sr)"
echo "commit    $(git describe --always --dirty), $(go version | cut -d' ' -f3)"
echo "load      $(cut -d' ' -f1-3 /proc/loadavg)"

first=$((15000 + RANDOM % 15000)) # likely free, below the ports that the system deals out
"$arbiter" dev --nodes 3 --no-demo --data-groups "$groups" --subscribers "$subscribers" --data "$folder/from" --addr 127.0.0.1:$first >"$folder/dev.log" 2>&1 &
servers=($!)
until grep -q 'Ctrl-C ends them all' "$folder/dev.log"; do
  kill -0 "${servers[0]}" 2>/dev/null || { cat "$folder/dev.log" >&2; exit 1; }
  sleep 0.1
done
echo; echo "== $subscribers subjects in $groups groups on 3 nodes"
bench() { "$arbiter" bench decide --addr 127.0.0.1:$first --also 127.0.0.1:$((first + 10)) --also 127.0.0.1:$((first + 20)) --subjects "$subscribers" --rate "$rate" "$@"; }
echo "-- decisions without a backup"; bench --duration 15s
bench --duration 60s >"$folder/load.out" 2>&1 &
load=$!
sleep 5
echo "-- backup, at $rate decisions/s"; took "$arbiter" cluster backup --dir "$folder/backups" --admin-addr 127.0.0.1:$((first + 1))
echo "-- the next one, at $rate decisions/s"; took "$arbiter" cluster backup --dir "$folder/backups" --admin-addr 127.0.0.1:$((first + 1))
wait $load || true
echo "-- decisions meanwhile"; cat "$folder/load.out"
echo "-- verify"; took "$arbiter" cluster backup verify --dir "$folder/backups"
du -sh "$folder/backups" | cut -f1
stop

members=""
for i in $(seq "$nodes"); do members+="${members:+,}n$i=127.0.0.1:$((first + 10 * i + 2))"; done
for i in $(seq "$nodes"); do
  at=$((first + 10 * i))
  "$arbiter" server --data "$folder/to$i" --node-id n$i --nodes "$members" --data-groups "$into" --addr 127.0.0.1:$at --admin-addr 127.0.0.1:$((at + 1)) --plugins-unsigned allow --log-level warn >"$folder/n$i.out" 2>&1 &
  servers+=($!)
done
for i in $(seq "$nodes"); do
  until curl -fsS -o /dev/null "http://127.0.0.1:$((first + 10 * i + 1))/readyz" 2>/dev/null; do sleep 0.05; done
done
echo; echo "== restore into $nodes nodes with $into groups, until it serves"
took "$arbiter" cluster restore --dir "$folder/backups" --admin-addr 127.0.0.1:$((first + 11))
"$arbiter" decide S-000123 --channel web --addr 127.0.0.1:$((first + 10)) >/dev/null && echo "and it decides"
