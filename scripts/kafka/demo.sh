#!/usr/bin/env bash
# make kafka-demo: a Kafka broker, three nodes, a producer of roaming events, and the messages that come out, on
# another topic. It ends by itself, after about a minute, and leaves nothing behind.
#
#   demo.sh [EVENTS]     that many events, 2000 if not said
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
arbiter=$here/../../bin/arbiter
broker=$here/broker.sh
events=${1:-2000}
people=$((events / 2)) # each lands twice, and is told once
folder=$(mktemp -d)
pids=()

finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  "$broker" stop "$folder/kafka"
  rm -rf "$folder"
}
trap finish EXIT

# Ports below those that the kernel gives to connections.
next=$((14000 + RANDOM % 4000))
free_port() {
  while (exec 3<>"/dev/tcp/127.0.0.1/$next") 2>/dev/null || (exec 3<>"/dev/tcp/127.0.0.1/$((next + 1))") 2>/dev/null; do next=$((next + 2)); done
  port=$next
  next=$((next + 2))
}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "A Kafka broker (the first time Maven fetches it)"
free_port
kafka=127.0.0.1:$port
"$broker" start "$folder/kafka" "$port"
"$broker" tool topics --bootstrap-server "$kafka" --create --topic roaming --partitions 6 2>/dev/null
"$broker" tool topics --bootstrap-server "$kafka" --create --topic outbound --partitions 3 2>/dev/null

say "Three nodes"
cat >"$folder/arbiter.yaml" <<EOF
streams:
  - {name: roaming, brokers: "$kafka", topic: roaming}
sinks:
  - {name: outbound, kind: kafka, brokers: "$kafka", topic: outbound}
log: {level: warn}
EOF
members=
for i in 1 2 3; do
  free_port
  members+=${members:+,}n$i=127.0.0.1:$port
done
for i in 1 2 3; do
  free_port
  api[i]=127.0.0.1:$port
  "$arbiter" server --config "$folder/arbiter.yaml" --data "$folder/n$i" --node-id n$i --nodes "$members" \
    --addr "${api[i]}" --admin-addr "127.0.0.1:$((port + 1))" >"$folder/n$i.log" 2>&1 &
  pids+=($!)
done
export ARBITER_ADDR=http://${api[1]}
for _ in $(seq 300); do
  curl -sf "$ARBITER_ADDR/readyz" >/dev/null 2>&1 && break
  sleep 0.1
done
"$arbiter" cluster | head -n 6

say "$people subscribers, and a catalog that answers landings (scripts/kafka/demo.yaml)"
for ((i = 0; i < people; i++)); do
  printf '{"id":"+4477009%05d","attributes":{},"consents":{"service":true}}\n' "$i"
done >"$folder/people.ndjson"
"$arbiter" subject import "$folder/people.ndjson" | tail -n 1
"$arbiter" catalog apply "$here/demo.yaml"

say "$events roaming events as CAMARA's notifications have them, each subscriber lands twice; one message is none"
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
{
  for ((i = 0; i < events; i++)); do
    printf '{"specversion":"1.0","id":"landing-%d","source":"/network/7","type":"org.camaraproject.device-roaming-status-subscriptions.v0.roaming-on","time":"%s","data":{"subscriptionId":"qs15-h556-rt89-1298","device":{"phoneNumber":"+4477009%05d"},"countryCode":208,"countryName":["FR"]}}\n' "$i" "$now" "$((i % people))"
  done
  echo 'this is no event'
} >"$folder/events.ndjson"
"$broker" tool produce --bootstrap-server "$kafka" --topic roaming <"$folder/events.ndjson"

for _ in $(seq 150); do
  lag=$(curl -s "$ARBITER_ADDR/v1/streams" | sed -n 's/.*"lag":\([0-9]*\)[^"]*}\]}.*/\1/p')
  [ "$lag" = 0 ] && break
  sleep 0.2
done
"$arbiter" stream list

say "What came out, on the topic outbound"
"$broker" tool consume --bootstrap-server "$kafka" --topic outbound --from-beginning --max-messages "$people" --timeout-ms 30000 \
  >"$folder/out.ndjson" 2>/dev/null || true
sleep 1
"$broker" tool consume --bootstrap-server "$kafka" --topic outbound --from-beginning --timeout-ms 3000 >"$folder/out.ndjson" 2>/dev/null || true
head -n 1 "$folder/out.ndjson"
printf '%d landings of %d subscribers: %d text messages to %d of them (one a day is enough)\n' "$events" "$people" \
  "$(wc -l <"$folder/out.ndjson")" "$(sed 's/.*"subject":{"id":"\([^"]*\)".*/\1/' "$folder/out.ndjson" | sort -u | wc -l)"

say "The message that was none is a dead letter"
"$arbiter" event letters || true
