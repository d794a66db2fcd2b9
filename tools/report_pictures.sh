#!/usr/bin/env bash
# Pictures of a report for the docs, after `make demo`: desktop, tablet, phone, dark and print.
# Needs chromium, and pdftoppm (poppler-utils).
#     tools/report_pictures.sh [report.html [name]]
set -euo pipefail
report=${1:-build/digits-audit/report.html}
name=${2:-report}
for tool in chromium pdftoppm; do
  command -v "$tool" > /dev/null || { echo "$tool is not installed: it draws the pictures" >&2; exit 1; }
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
shoot() { chromium --headless --no-sandbox --hide-scrollbars "$@" "$report" 2> /dev/null; }
shoot --window-size=1280,1260 --screenshot="$scratch/$name.png"
shoot --window-size=1280,1260 --blink-settings=preferredColorScheme=0 --screenshot="$scratch/$name-dark.png"
shoot --window-size=768,1560 --screenshot="$scratch/$name-tablet.png"
shoot --window-size=390,2560 --screenshot="$scratch/$name-phone.png"
shoot --no-pdf-header-footer --print-to-pdf="$scratch/$name.pdf"
pdftoppm -r 80 -png -f 1 -l 1 "$scratch/$name.pdf" "$scratch/$name-print"
mv "$scratch/$name"-print*.png "$scratch/$name-print.png"
"${PYTHON:-.venv/bin/python}" - "$scratch" << 'PYTHON'
import sys
from pathlib import Path
from PIL import Image
for path in Path(sys.argv[1]).glob("*.png"):
    Image.open(path).convert("RGB").quantize(128).save(Path("docs") / path.name, optimize=True)
PYTHON
