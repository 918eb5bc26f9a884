#!/usr/bin/env bash
# Compares the in-process benchmarks of this checkout with those of another commit, in turns, with
# benchstat: compare.sh REF BENCHSTAT_MODULE
set -euo pipefail
cd "$(dirname "$0")/../.."
ref=${1:?which commit? make bench-compare REF=main} benchstat=${2:?}
work=$(mktemp -d); trap 'git worktree remove --force "$work/tree" 2>/dev/null || true; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/tree" "$ref"
packages=(./cluster/node ./cluster/store/record ./plugins/serving ./plugins/compiler ./runtime/engine ./runtime/expr)
for _ in $(seq 10); do # in turns, so that a drift of the machine hits both
  (cd "$work/tree" && go test -run '^$' -bench . -benchtime 0.2s -cpu 1 "${packages[@]}") >>"$work/old" || true
  go test -run '^$' -bench . -benchtime 0.2s -cpu 1 "${packages[@]}" >>"$work/new"
done
go run "$benchstat" "$work/old" "$work/new"
