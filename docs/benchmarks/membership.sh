#!/usr/bin/env bash
# Measures what membership changes cost those who call: a fourth node that joins three with their subjects, the
# transfer of all that a node leads, a rolling restart, and decisions through a node that leads nothing
# against one that leads everything. Decisions are asked for at a steady rate all the while, through all nodes
# that are not being stopped. Traffic goes to loopback only.
#   membership.sh        RATE, DATA_GROUPS, SUBSCRIBERS, DURATION (s), JOINING (s), CLIENTS and ROUNDS change the size
set -euo pipefail
cd "$(dirname "$0")/../.."
groups=${DATA_GROUPS:-16} subscribers=${SUBSCRIBERS:-1000000} duration=${DURATION:-20} joining=${JOINING:-60} clients=${CLIENTS:-256} rounds=${ROUNDS:-3}
arbiter=${ARBITER:-bin/arbiter}
folder=$(mktemp -d)
servers=()
declare -A pid
stop() {
  for p in "${servers[@]}" "${pid[@]}"; do kill "$p" 2>/dev/null || true; done
  for p in "${servers[@]}" "${pid[@]}"; do wait "$p" 2>/dev/null || true; done
  servers=() pid=()
}
trap 'stop; rm -rf "$folder"' EXIT

echo "machine   $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo), $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2/1048576}' /proc/meminfo), $(uname -sr)"
echo "commit    $(git describe --always --dirty), $(go version | cut -d' ' -f3)"
echo "load      $(cut -d' ' -f1-3 /proc/loadavg)"
echo "subjects  $subscribers in $groups groups"

first=$((20000 + RANDOM % 20000)) # likely free; the program says so if not
"$arbiter" dev --nodes 3 --no-demo --data-groups "$groups" --subscribers "$subscribers" --data "$folder" --addr 127.0.0.1:$first >"$folder/dev.log" 2>&1 &
servers=($!)
until grep -q 'Ctrl-C ends them all' "$folder/dev.log"; do
  kill -0 "${servers[0]}" 2>/dev/null || { cat "$folder/dev.log" >&2; exit 1; }
  sleep 0.1
done
stop
members=n1=127.0.0.1:$((first + 2)),n2=127.0.0.1:$((first + 12)),n3=127.0.0.1:$((first + 22))
at() { echo $((first + 10 * ($1 - 1))); }
run() { # starts node $1, with more flags
  local i=$1; shift
  "$arbiter" server --data "$folder/n$i" --node-id n"$i" --cluster-id dev --addr 127.0.0.1:"$(at "$i")" --admin-addr 127.0.0.1:$(($(at "$i") + 1)) --log-level warn "$@" >>"$folder/n$i.out" 2>&1 &
  pid[$i]=$!
}
ready() { until curl -fsS -o /dev/null "http://127.0.0.1:$(($(at "$1") + 1))/readyz" 2>/dev/null; do sleep 0.05; done; }
for i in 1 2 3; do run $i --nodes "$members"; done
for i in 1 2 3; do ready $i; done

# cpu is the processor time of all nodes so far, in ms.
cpu() { local sum=0 p f; for p in "${pid[@]}"; do { read -ra f </proc/"$p"/stat; } 2>/dev/null && sum=$((sum + f[13] + f[14])); done; echo $((sum * 10)); }

# ask RATE SECONDS NODE... asks through nodes and prints one line.
ask() {
  local rate=$1 seconds=$2 i args=() before; shift 2
  before=$(cpu)
  args=(--addr "127.0.0.1:$(at "$1")"); shift
  for i in "$@"; do args+=(--also "127.0.0.1:$(at "$i")"); done
  "$arbiter" bench decide "${args[@]}" --subjects "$subscribers" --duration "${seconds}s" --clients "$clients" --rate "$rate" -o json >"$folder/out.json"
  python3 - "$folder/out.json" $(($(cpu) - before)) <<'P'
import json, sys
r = json.load(open(sys.argv[1]))
l = r["latency"]
print("  %.0f/s  p50 %.2f ms  p99 %.2f ms  p99.9 %.2f ms  max %.1f ms  failed %d  %s%s" % (r["rate"], l["p50Micros"]/1e3, l["p99Micros"]/1e3,
    l["p999Micros"]/1e3, l["maxMicros"]/1e3, r["completed"] - r["ok"] + r["unsent"],
    "processor %.2f of a core " % (int(sys.argv[2])/1e3/r["seconds"]) if int(sys.argv[2]) > 0 else "", r["errors"] or ""))  # a node that was started again began at 0
P
}
balance() { curl -fsS "http://127.0.0.1:$(at 1)/v1/cluster/balance"; }
settled() { balance | python3 -c 'import json,sys; b=json.load(sys.stdin); sys.exit(0 if b["moving"]+b["lost"]+b["missing"]+b["misplaced"]+len(b["next"])==0 else 1)' 2>/dev/null; }
until settled; do sleep 0.2; done

rate=${RATE:-}
if [ -z "$rate" ]; then
  "$arbiter" bench decide --addr 127.0.0.1:"$(at 1)" --also 127.0.0.1:"$(at 2)" --also 127.0.0.1:"$(at 3)" --subjects "$subscribers" --closed --clients "$clients" --duration 8s -o json >"$folder/peak.json"
  rate=$(($(grep -oE '"rate": *[0-9.]+' "$folder/peak.json" | head -n 1 | grep -oE '[0-9]+' | head -n 1) / 2))
fi
echo; echo "== steady at $rate/s through three nodes"
for _ in $(seq "$rounds"); do ask "$rate" "$duration" 1 2 3; done

echo; echo "== a fourth node joins and takes its share"
began=$(date +%s.%N)
run 4 --join 127.0.0.1:$((first + 2)) --cluster-addr 127.0.0.1:$((first + 32))
(ready 4; until settled; do sleep 0.2; done; echo "  even after $(echo "$(date +%s.%N) - $began" | bc) s") &
watch=$!
ask "$rate" "$joining" 1 2 3
wait $watch

echo; echo "== steady at $rate/s through four nodes"
ask "$rate" "$duration" 1 2 3 4

echo; echo "== all that a node leads goes to others, while decisions go on"
(sleep 2; for i in 1 2 3 4; do
  curl -fsS -o "$folder/moved" -w "  node $i: %{time_total} s for " -H 'Content-Type: application/json' -d "{\"from\":\"n$i\"}" "http://127.0.0.1:$(at $i)/v1/cluster/transfers"; cat "$folder/moved"; echo; sleep 1
done) &
watch=$!
ask "$rate" 12 1 2 3 4
wait $watch

echo; echo "== rolling restart: each node is stopped and started again, decisions go through the others"
for i in 1 2 3; do
  others=(); for o in 1 2 3 4; do [ $o = $i ] || others+=($o); done
  (sleep 2; kill "${pid[$i]}") &
  watch=$!
  ask "$rate" 10 "${others[@]}" &
  asking=$!
  wait $watch; while kill -0 "${pid[$i]}" 2>/dev/null; do sleep 0.05; done
  run $i --nodes "$members"
  wait $asking; ready $i
  until settled; do sleep 0.2; done
done

echo; echo "== decisions through a node that leads everything, and through one that leads nothing"
for i in 2 3 4; do curl -fsS -o /dev/null -X POST "http://127.0.0.1:$(at 1)/v1/cluster/members/n$i/drain"; done
for _ in $(seq 300); do
  left=$(curl -fsS "http://127.0.0.1:$(at 1)/v1/cluster/members" | python3 -c 'import json,sys; print(sum(m["leads"] for m in json.load(sys.stdin)["items"] if m["id"] != "n1"))')
  [ "$left" = 0 ] && break; sleep 0.2
done
for _ in $(seq $((3 * rounds))); do # in turns, so that both meet the same machine
  echo "  owner:    $(ask "$((rate / 2))" 3 1)"
  echo "  another:  $(ask "$((rate / 2))" 3 2)"
done
