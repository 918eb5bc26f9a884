#!/usr/bin/env bash
# Makes data folders of earlier releases, which TestFoldersOfEarlierReleases opens: each release, built from the
# history of this repository, runs its own demo with a few subscribers on loopback, makes a decision and stops.
#   make.sh [LEVEL=COMMIT…]     without arguments: the last commit of each feature level
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
work=$(mktemp -d)
pid=
trap 'test -z "$pid" || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
[ $# -gt 0 ] || set -- level1=1fe145d^ level2=7edfa86^ level3=5a75ea1^ level4=8c25c3b
for release; do
  name=${release%%=*} commit=${release#*=}
  mkdir -p "$work/$name/source"
  git -C "$(git rev-parse --show-toplevel)" archive "$commit" | tar -x -C "$work/$name/source"
  (cd "$work/$name/source" && go build -o ../arbiter ./cmd/arbiter)
  arbiter=$work/$name/arbiter data=$work/$name/data addr=127.0.0.1:$((15000 + RANDOM % 15000))
  admin=127.0.0.1:$((${addr##*:} + 1))
  "$arbiter" dev --data "$data" --subscribers 40 --no-demo --addr "$addr" --admin-addr "$admin" >"$work/$name/log" 2>&1 &
  pid=$!
  until grep -q 'Ctrl-C' "$work/$name/log"; do kill -0 "$pid" || { cat "$work/$name/log" >&2; exit 1; }; sleep 0.1; done
  for i in $(seq 10 29); do
    "$arbiter" decide "S-0000$i" --channel web --addr "$addr" -o json >"$work/$name/decision"
  done
  "$arbiter" decide S-000005 --channel web --addr "$addr" -o json >"$work/$name/decision"
  kill "$pid"
  wait "$pid" || true
  pid=
  # reserve, lock and compiled code are made again.
  rm -rf "$data"/reserve "$data"/lock "$data"/cache
  cp "$work/$name/decision" "$data/decision.json"
  tar -C "$data" --sparse --sort=name --mtime='2026-01-01' --owner=0 --group=0 -cf - . | gzip -9n >"$here/$name.tar.gz"
  ls -l "$here/$name.tar.gz"
done
