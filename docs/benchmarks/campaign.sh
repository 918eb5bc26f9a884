#!/usr/bin/env bash
# Measures a whole campaign on three nodes in one process; see campaigns.md. The model, its harness and LightGBM are
# those of make bench-models, which must have run once.
#   SUBJECTS=1000000 campaign.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
cache=$PWD/.cache/bench-models
test -f "$cache/lightgbm-100x31-f50.lgb.txt" || { echo "no model: run make bench-models once" >&2; exit 1; }
library=$(find "$PWD/.cache" -name lib_lightgbm.so | head -n 1)
ARBITER_BENCH_MODELS=$cache ARBITER_LIGHTGBM=$library ARBITER_BENCH_SUBJECTS=${SUBJECTS:-100000} \
  "${GO:-go}" test ./cluster/node -run '^TestCampaignFigures$' -count 1 -timeout 4h -v | grep -E 'FIGURES|SKIP|FAIL|^ok'
