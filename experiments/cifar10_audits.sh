#!/usr/bin/env bash
# Three audits of CIFAR-10 (JPEG copy), All-CNN, deer: ESC, resample, and a network retrained without
# the class. Four other retrained networks are the reference. Needs ../shared, the networks of
# `cifar10_seeds.py --without 4`, and about half an hour of one core. A run that was
# stopped goes on. Reports go to results/audits/, pictures of two of them to docs/.
#     experiments/cifar10_audits.sh
set -euo pipefail
cd "$(dirname "$0")/.."
shared=${UNSPAN_SHARED:-../shared}
unspan=.venv/bin/unspan
build=build/cifar10-audits
model=(python:unspan.zoo:AllCNN)
weights=(--weights "$shared/checkpoints/allcnn-cifar10-original.safetensors" --data "$shared/data/cifar10")
retrained=(--reference "$shared/checkpoints/allcnn-cifar10-without-deer.safetensors")
for seed in 1 2 3; do retrained+=(--reference "build/cifar10-seeds/without-4-$seed.safetensors"); done

for method in esc resample; do
  test -e "$build/$method" \
    || "$unspan" erase --model "${model[@]}" "${weights[@]}" --forget deer --method "$method" --out "$build/$method"
done
mkdir -p results/audits
for name in esc resample retrained; do
  audited=("$build/$name")
  test "$name" = retrained && audited=(build/cifar10-seeds/without-4-4.safetensors --forget deer)
  "$unspan" audit "${model[@]}" "${audited[@]}" "${weights[@]}" "${retrained[@]}" --cache build/cache \
    --out "$build/audit-$name" --overwrite
  cp "$build/audit-$name/report.md" "results/audits/cifar10-$name.md"
  cp "$build/audit-$name/audit.json" "results/audits/cifar10-$name.json"
done
tools/report_pictures.sh "$build/audit-esc/report.html" report-esc
tools/report_pictures.sh "$build/audit-retrained/report.html" report-retrained
