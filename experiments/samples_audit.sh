#!/usr/bin/env bash
# 100 random training images are erased from a small network on CIFAR-10, by the default of the
# command line, and the result is audited against five retrained networks. The report goes to
# results/audits/.
#     experiments/samples_audit.sh
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=src:experiments
unspan=(python -m unspan)
build=build/samples-audit
mkdir -p "$build" results/audits
python experiments/samples.py --export "$build"
asked=(--model python:_samples:audited_network --weights "$build/original.safetensors"
  --data python:_samples:audited_data --forget-index 0-99)
test -e "$build/erased" || "${unspan[@]}" erase "${asked[@]}" --holdout holdout --out "$build/erased"
references=()
for seed in 0 1 2 3 4; do references+=(--reference "$build/retrained-$seed.safetensors"); done
"${unspan[@]}" audit python:_samples:audited_network "$build/erased" --weights "$build/original.safetensors" \
  --data python:_samples:audited_data --forget-index 0-99 "${references[@]}" --cache "$build/cache" \
  --out "$build/audit" --overwrite
cp "$build/audit/report.md" results/audits/single-samples.md
cp "$build/audit/audit.json" results/audits/single-samples.json
