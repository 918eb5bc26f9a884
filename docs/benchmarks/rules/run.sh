#!/usr/bin/env bash
# Measures the figures of docs/benchmarks/rules.md on this machine: the rule side of Arbiter beside GoRules
# Zen, OPA and cel-go. Zen is a Rust crate, built by cargo into bin/zen; the others are Go modules at the
# versions of this folder's go.mod.
#   run.sh [flags]    the flags are those of the program: -rounds N, -spend TIME
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
command -v cargo >/dev/null || { echo "cargo is not installed: install Rust (https://rustup.rs) and run this again" >&2; exit 1; }
mkdir -p "$root/bin"
(cd "$here/zen" && CARGO_TARGET_DIR="$root/bin/zen" cargo build --quiet --locked --release)
(cd "$here" && go build -trimpath -o "$root/bin/rulesbench" .)
cd "$root"

version() { (cd "$here" && go list -m -f '{{.Version}}' "$1"); }
echo "machine   $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo), $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GiB", $2/1048576}' /proc/meminfo), $(uname -sr)"
echo "commit    $(git describe --always --dirty), $(go version | cut -d' ' -f3), $(rustc --version | cut -d' ' -f1-2)"
echo "versions  OPA $(version github.com/open-policy-agent/opa), cel-go $(version cel.dev/cel-go), Zen $(awk '/name = "zen-engine"/ {getline; gsub(/[^0-9.]/, ""); print; exit}' "$here/zen/Cargo.lock")"
echo "load      $(cut -d' ' -f1-3 /proc/loadavg)"
bin/rulesbench -zen bin/zen/release/zenbench "$@"
