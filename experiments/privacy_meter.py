"""Does Privacy Meter compute the RMIA score of this library from an export of the benchmark?

Needs a checkout of https://github.com/privacytrustlab/ml_privacy_meter, whose `attacks.py` is run:

    python experiments/privacy_meter.py --program ../ml_privacy_meter
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from unspan.artifact.receipt import versions
from unspan.benchmark.cell import Bench
from unspan.benchmark.export import export
from unspan.benchmark.runner import record, work
from unspan.benchmark.spec import load
from unspan.benchmark.store import Store
from unspan.metrics.rmia import DEFAULT_A, rmia_scores
from unspan.run import Run

GRID = Path(__file__).with_suffix(".toml")
BUILD = Path("build/privacy-meter")


def main() -> None:
    """Run the grid, export it, and compare the scores of both programs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--program", type=Path, required=True, help="checkout of Privacy Meter")
    parser.add_argument("--json", type=Path, default=Path("results/privacy-meter.json"))
    args = parser.parse_args()
    begun = time.perf_counter()
    spec, store = load(GRID), Store(BUILD / "cells")
    bench = Bench(store, Run())
    record(store, spec, "")
    work(spec, bench, print)
    (folder,) = export(spec, bench, BUILD / "export", print)
    attacks = _module(args.program / "attacks.py")
    rows = [_compared(attacks, one) for one in sorted((folder / "privacy-meter").iterdir())]
    found = {
        "command": "python experiments/privacy_meter.py --program ../ml_privacy_meter",
        "seconds": round(time.perf_counter() - begun, 1),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "data": spec.title,
        "rows": rows,
    }
    args.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(rows, indent=1))


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("privacy_meter_attacks", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compared(attacks: Any, folder: Path) -> dict[str, Any]:
    """AUC of RMIA by both programs on one erased model, and the largest difference of a score."""
    rows, unseen = (np.load(folder / f"signals/rmia_signals{end}.npy") for end in ("", "_pop"))
    members = np.load(folder / "models/memberships.npy")
    count = rows.shape[1] - 2  # references
    theirs = attacks.run_rmia(0, rows, unseen, members.T, count, DEFAULT_A)
    own, others = torch.from_numpy(rows).log(), torch.from_numpy(unseen).log()
    ours = rmia_scores(own[:, 0], own[:, 2:].T, others[:, 0], others[:, 2:].T).numpy()
    tuned = attacks.tune_offline_a(0, rows, unseen, members.T, logging.getLogger())[0]
    best = attacks.run_rmia(0, rows, unseen, members.T, count, tuned)
    return {
        "cell": folder.name,
        "samples": len(rows),
        "references": count,
        "AUC, Privacy Meter": float(roc_auc_score(members[0], theirs)),
        "AUC, unspan": float(roc_auc_score(members[0], ours)),
        "largest difference of a score": float(np.abs(theirs - ours).max()),
        "a tuned by Privacy Meter": float(tuned),
        "AUC with it": float(roc_auc_score(members[0], best)),
    }


if __name__ == "__main__":
    main()
