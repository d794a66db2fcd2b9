#!/usr/bin/env bash
# The audits of one erased person: in a network of faces (person 4 of lfw62), and in one of voices
# (speaker 2 of fsdd), by the default method. Needs ../shared; voices need resemblyzer, librosa and
# soundfile. People are numbered, and no picture of them is written.
#     experiments/people_audits.sh face voice
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
export UNSPAN_SHARED=${UNSPAN_SHARED:-../shared}
export UNSPAN_FACE_WEIGHTS=${UNSPAN_FACE_WEIGHTS:-$UNSPAN_SHARED/checkpoints/face-dlib128-fp16.safetensors}
mkdir -p results/audits
audit() {  # kind, model, data, label, options of both commands
  build=build/people-audits/$1
  mkdir -p "$build"
  test -e "$build/erased" || "$python" -m unspan erase --model "python:examples.people:$2" \
    --data "python:examples.people:$3" --forget "$4" --allow-identifying-projector \
    --out "$build/erased" "${@:5}"
  "$python" -m unspan audit "python:examples.people:$2" "$build/erased" \
    --data "python:examples.people:$3" --cache "$build/cache" --out "$build/audit" --overwrite "${@:5}"
  cp "$build/audit/report.md" "results/audits/$1-redraw.md"
  cp "$build/audit/audit.json" "results/audits/$1-redraw.json"
}
for kind in ${*:-face voice}; do
  case $kind in
    face) audit face face_net faces 4 --feature-layer output ;;
    voice) audit voice voice_encoder voices 2 ;;
  esac
done
