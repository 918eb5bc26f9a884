#!/usr/bin/env bash
# Measures compiled models against the libraries that trained them; see README.md. Installs the libraries
# under .cache and trains the models there once.
#   run.sh [--rounds N] [--milliseconds N] [--quick] [--no-tl2cgen] [NAME or MODEL FILE]...
set -euo pipefail
cd "$(dirname "$0")/../../.."
cache=$PWD/.cache/bench-models
command -v python3 >/dev/null || { echo "python3 is not installed" >&2; exit 1; }
command -v gcc >/dev/null || { echo "gcc is not installed: it compiles the harness and what tl2cgen writes" >&2; exit 1; }
mkdir -p "$cache"
test -x "$cache/python/bin/python" || python3 -m venv "$cache/python"
cmp -s docs/benchmarks/models/requirements.txt "$cache/installed" || {
  "$cache/python/bin/pip" install --quiet --disable-pip-version-check -r docs/benchmarks/models/requirements.txt
  cp docs/benchmarks/models/requirements.txt "$cache/installed"
}
old=$cache/xgboost-1.7/unpacked/xgboost/lib/libxgboost.so # two versions do not fit one Python; of this one only the C API is used
test -f "$old" || {
  "$cache/python/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$cache/xgboost-1.7" xgboost==1.7.6
  "$cache/python/bin/python" - "$cache/xgboost-1.7" <<'END'
import glob, sys, zipfile
folder = sys.argv[1]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel:
    for name in wheel.namelist():
        if ".so" in name:
            wheel.extract(name, folder + "/unpacked")
END
}
gcc -O2 -Wall -o "$cache/libraries" docs/benchmarks/models/libraries.c -ldl
failed=0
"$cache/python/bin/python" docs/benchmarks/models/bench.py --cache "$cache" --arbiter "${ARBITER_BIN:-bin/arbiter}" "$@" || failed=1
# What fuel, emitting and the engine's compilation cost, in this process's own processor time.
echo
ARBITER_BENCH_MODELS=$cache "${GO:-go}" test -v -count 1 -run '^TestFigures$' ./plugins/compiler/emit || failed=1
exit $failed
