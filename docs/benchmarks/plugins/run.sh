#!/usr/bin/env bash
# Measures the figures of docs/benchmarks/plugins.md on this machine. Builds scorer/scorer.c with the flags of
# arbiter plugin build and the Extism plugin with cargo; sdk/toolchains.sh installs both compilers.
#   run.sh [-rounds N]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
mkdir -p "$root/bin"
clang=$(command -v clang-19 || command -v clang) || { echo "clang is missing: run sdk/toolchains.sh" >&2; exit 1; }
"$clang" --target=wasm32-wasi -mexec-model=reactor -O3 -ffp-contract=off -I"$here/scorer" -I"$root/sdk/c" -Wl,--strip-all \
  -Wl,-z,stack-size=16384 -o "$root/bin/logistic.wasm" "$here/scorer/scorer.c" -lm
(cd "$here/extism" && cargo build --quiet --release --target wasm32-unknown-unknown --target-dir "$root/bin/extism")
(cd "$here" && go build -o "$root/bin/pluginbench" .)

echo "machine   $(awk -F': ' '/model name/ {print $2; exit}' /proc/cpuinfo), $(nproc) cores, $(uname -sr)"
echo "commit    $(git -C "$root" describe --always --dirty), $(go version | cut -d' ' -f3), extism $(cd "$here" && go list -m -f '{{.Version}}' github.com/extism/go-sdk), wazero $(cd "$here" && go list -m -f '{{.Version}}' github.com/tetratelabs/wazero)"
echo "load      $(cut -d' ' -f1-3 /proc/loadavg)"
"$root/bin/pluginbench" -scorer "$root/bin/logistic.wasm" -extism "$root/bin/extism/wasm32-unknown-unknown/release/extism_logistic.wasm" \
  -adapted "$root/plugins/adapter/testdata/extism.wasm" "$@"
