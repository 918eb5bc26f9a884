#!/usr/bin/env bash
# Installs what the guest SDKs are built with, as far as it is missing: clang, lld and wasi-libc from
# Debian, the WebAssembly target of Rust, Node.js with npm. Needs root, or sudo, for Debian's packages.
set -euo pipefail

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

debian() {
  local missing=()
  for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || { echo "install ${missing[*]} by hand: this system has no apt-get" >&2; exit 1; }
  as_root apt-get update -q
  as_root apt-get install -y -q --no-install-recommends "${missing[@]}"
}

rust_target() { [ -d "$(rustc --print target-libdir --target wasm32-unknown-unknown 2>/dev/null)" ]; }

debian clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32
command -v npm >/dev/null || debian nodejs npm
if ! rust_target; then
  if command -v rustup >/dev/null; then rustup target add wasm32-unknown-unknown
  else debian rustc cargo libstd-rust-dev-wasm32; fi
fi
# The tests of the adapters build a WASI command in Rust where this target is; Debian has none of that name.
if command -v rustup >/dev/null; then rustup target add wasm32-wasip1 || true; fi
rust_target || { echo "Rust has no target wasm32-unknown-unknown: install rustup (https://rustup.rs) and run this again" >&2; exit 1; }
