#!/usr/bin/env bash
# Pictures of a report for the docs, after `make demo`: desktop, tablet, phone, dark and print.
# Needs chromium, and pdftoppm (poppler-utils).
#     tools/report_pictures.sh [report.html]
set -euo pipefail
report=${1:-build/digits-audit/report.html}
for tool in chromium pdftoppm; do
  command -v "$tool" > /dev/null || { echo "$tool is not installed: it draws the pictures" >&2; exit 1; }
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
shoot() { chromium --headless --no-sandbox --hide-scrollbars "$@" "$report" 2> /dev/null; }
shoot --window-size=1280,1260 --screenshot="$scratch/report.png"
shoot --window-size=1280,1260 --blink-settings=preferredColorScheme=0 --screenshot="$scratch/report-dark.png"
shoot --window-size=768,1560 --screenshot="$scratch/report-tablet.png"
shoot --window-size=390,2560 --screenshot="$scratch/report-phone.png"
shoot --no-pdf-header-footer --print-to-pdf="$scratch/report.pdf"
pdftoppm -r 80 -png -f 1 -l 1 "$scratch/report.pdf" "$scratch/report-print"
mv "$scratch"/report-print*.png "$scratch/report-print.png"
python3 - "$scratch" << 'PYTHON'
import sys
from pathlib import Path
from PIL import Image
for path in Path(sys.argv[1]).glob("*.png"):
    Image.open(path).convert("RGB").quantize(128).save(Path("docs") / path.name, optimize=True)
PYTHON
