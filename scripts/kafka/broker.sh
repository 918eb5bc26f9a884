#!/usr/bin/env bash
# A real Kafka broker (KRaft, one node, loopback only) for tests and for make kafka-demo. It comes from Maven
# by pom.xml beside this script, once, into .cache/kafka, and runs on the machine's Java (17 or newer).
#
#   broker.sh install                install it; exit 3 says why it cannot be had here
#   broker.sh run FOLDER PORT        run it in the foreground over FOLDER (PORT+1 is its controller's)
#   broker.sh start FOLDER PORT      run it in the background, return when it answers
#   broker.sh stop FOLDER            stop what start started
#   broker.sh tool NAME ARGS…        one of Kafka's own tools: topics, produce, consume
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${ARBITER_KAFKA:-$here/../../.cache/kafka}
resolver=org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies

cannot() { echo "NO KAFKA BROKER: $*" >&2; exit 3; }

installed() { cmp -s "$here/pom.xml" "$home/pom.xml" && [ -d "$home/lib" ]; }

install() {
  installed && return
  command -v java >/dev/null || cannot "Java is not installed (17 or newer; Debian: default-jre-headless)"
  command -v mvn >/dev/null || cannot "Maven is not installed (Debian: maven)"
  mkdir -p "$home"
  exec 9>"$home/lock"
  flock 9 # tests of several packages come at once
  if ! installed; then
    rm -rf "$home/lib" "$home/new"
    mvn -q -B -ntp -f "$here/pom.xml" "$resolver" -DoutputDirectory="$(realpath "$home")/new" -DincludeScope=runtime \
      >"$home/install.log" 2>&1 || { tail -n 5 "$home/install.log" >&2; cannot "Maven cannot resolve it"; }
    mv "$home/new" "$home/lib"
    cp "$here/pom.xml" "$home/pom.xml"
  fi
  exec 9>&-
}

# The first compiler alone: these processes live for seconds and share the cores with what they serve.
java_() {
  local class=$1
  shift
  exec java -Xms64m -Xmx"${KAFKA_HEAP:-512m}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dlog4j2.disable.jmx=true -cp "$home/lib/*" "$class" "$@"
}

prepare() {
  local folder=$1 port=$2
  mkdir -p "$folder"
  cat >"$folder/broker.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$folder/log
num.network.threads=2
num.io.threads=2
background.threads=2
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.bytes=134217728
EOF
  [ -n "${KAFKA_PROPERTIES:-}" ] && printf '%s\n' "$KAFKA_PROPERTIES" >>"$folder/broker.properties"
  [ -e "$folder/log/meta.properties" ] ||
    (java_ kafka.tools.StorageTool format --standalone -t "$(cluster_id)" -c "$folder/broker.properties") >"$folder/format.log" 2>&1 ||
    { cat "$folder/format.log" >&2; exit 1; }
}

cluster_id() { head -c 16 /dev/urandom | base64 | tr '+/' 'Pl' | tr -d '='; }

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start() {
  local folder=$1 port=$2
  prepare "$folder" "$port"
  (java_ kafka.Kafka "$folder/broker.properties") >"$folder/broker.log" 2>&1 </dev/null &
  echo $! >"$folder/pid"
  for _ in $(seq 300); do
    answers "$port" && return
    kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$folder/broker.log" >&2
  echo "the broker did not start" >&2
  exit 1
}

stop() {
  local pid
  pid=$(cat "$1/pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$1/pid"; return 0; }
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$1/pid"
}

tool() {
  local name=$1
  shift
  case $name in
    topics) java_ org.apache.kafka.tools.TopicCommand "$@" ;;
    produce) java_ org.apache.kafka.tools.ConsoleProducer "$@" ;;
    consume) java_ org.apache.kafka.tools.consumer.ConsoleConsumer "$@" ;;
    *) echo "no tool $name: topics, produce or consume" >&2; exit 2 ;;
  esac
}

command=${1:-}
shift || true
case $command in
  install) install ;;
  run) install; prepare "$1" "$2"; java_ kafka.Kafka "$1/broker.properties" ;;
  start) install; start "$1" "$2" ;;
  stop) stop "$1" ;;
  tool) install; tool "$@" ;;
  *) sed -n '2,12p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac
