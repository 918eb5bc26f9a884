#!/usr/bin/env bash
# Swaps under load, the admission of a large artifact under load, and how long an activation takes on three
# nodes. Run it on a machine that does nothing else; the ratios are of one run. RATE, ROUNDS and SWAPS may be set.
set -euo pipefail
cd "$(dirname "$0")/../.."
make --quiet build
arbiter=$PWD/bin/arbiter
work=$(mktemp -d)
trap 'kill "${node:-}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
api=127.0.0.1:${PORT:-18080} admin=127.0.0.1:${ADMIN_PORT:-18081}

"$arbiter" model compile examples/model/churn.xgb.json --features examples/model/features.yaml --name churn --version 9.0.0 -o "$work/churn.wasm" >/dev/null
(cd "$work" && "$arbiter" plugin new large --lang go >/dev/null && "$arbiter" plugin build large >/dev/null)
large=$(find "$work/large/build" -name large.wasm)
"$arbiter" dev --no-demo --subscribers 10000 --addr "$api" --admin-addr "$admin" >"$work/node.log" 2>&1 &
node=$!
export ARBITER_ADDR=$api
until "$arbiter" plugin list 2>/dev/null | grep -q active; do
  kill -0 "$node" || { cat "$work/node.log"; exit 1; }
  sleep 0.2
done
sleep 2

memory() {
  local executable=0 range mode
  while read -r range mode _; do
    case $mode in *x*) executable=$((executable + 16#${range#*-} - 16#${range%-*})) ;; esac
  done < <(grep -v vsyscall "/proc/$node/maps")
  printf '%s: %s, %d kB executable\n' "$1" "$(awk '/VmRSS/ {print $2, "kB resident"}' "/proc/$node/status")" $((executable / 1024))
}

echo "== swaps"
"$arbiter" bench swap "$work/churn.wasm" --rate "${RATE:-2000}" --rounds 1 --swaps 20 >/dev/null
memory before
"$arbiter" bench swap "$work/churn.wasm" --rate "${RATE:-2000}" --rounds "${ROUNDS:-5}" --swaps "${SWAPS:-200}"
memory after
echo "== admission of $(stat -c %s "$large") bytes"
"$arbiter" bench admit "$large" --rate "${RATE:-2000}" --rounds "${ROUNDS:-5}"
echo "== activation on three nodes"
go test -count "${ROUNDS:-5}" -v -run TestRolloutOnThreeNodes ./cluster/node | grep 'from the promotion'
