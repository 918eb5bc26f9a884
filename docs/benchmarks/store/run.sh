#!/usr/bin/env bash
# Measures the figures of docs/benchmarks/store.md on this machine: three processes of Arbiter beside
# three of etcd, which is built from its module at the version of this folder's go.mod.
#   run.sh [compare|events|deliveries|callers|reads|life] [flags]    one part, or all; the flags are those of the program
# Traffic goes to loopback only. The data lies in STORE_DIR, or else below the temporary folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
mkdir -p "$root/bin"
(cd "$here" && go build -trimpath -o "$root/bin/etcd" go.etcd.io/etcd/server/v3 && go build -o "$root/bin/storebench" .)
cd "$root"

echo "machine   $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo), $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2/1048576}' /proc/meminfo), $(uname -sr)"
echo "commit    $(git describe --always --dirty), $(go version | cut -d' ' -f3), etcd $(bin/etcd --version | awk '{print $3; exit}')"
echo "load      $(cut -d' ' -f1-3 /proc/loadavg)"

parts=(reads callers compare events deliveries life)
case ${1:-} in
  compare|events|deliveries|callers|reads|life) parts=("$1"); shift ;;
esac
for part in "${parts[@]}"; do
  echo; echo "== $part"
  bin/storebench "$part" ${STORE_DIR:+-dir "$STORE_DIR/$part"} "$@"
done
