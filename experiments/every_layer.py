"""Every network of a benchmark, read at its layers: does a deletion leave less than retraining?

    python experiments/every_layer.py experiments/networks/cifar100-resnet20.toml

The spec is one of `unspan bench`, and its networks and cells are shared with a folder of it.
Attackers learn from training samples with true labels, at most 20,000, and are scored on test
samples of the request. At up to eight layers, spread over the network, they fit a linear probe,
neighbours and an MLP: on the features of an image, and on their mean over ten altered copies.
Another attacker trains all weights on, with 10 or 100 samples of each class. Nothing was chosen on
these test samples. One JSON row a network; a row that is there is not computed again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from _layer_attacks import read_at_layers, relearned, samples
from _layer_table import page

from unspan.artifact.receipt import versions
from unspan.benchmark.cell import Bench
from unspan.benchmark.grid import Cell, Row
from unspan.benchmark.spec import find, load
from unspan.benchmark.store import Store
from unspan.run import Run

SHOTS = (10, 100)  # samples of each class that the attacker has who trains on
DRAWS = 2


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spec", help="name of a spec, or a TOML file")
    parser.add_argument("--budget", default="full")
    parser.add_argument("--pairs", nargs="*", help="names of pairs; all by default")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="networks and cells")
    parser.add_argument("--device")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--json", type=Path, help="default: results/layers/NAME.json")
    parser.add_argument("--table", action="store_true", help="only write the page")
    args = parser.parse_args()
    args.json = args.json or Path(f"results/layers/{find(args.spec).stem}.json")
    return args


def main() -> None:
    """Compute the rows that are missing, and write the page."""
    args = arguments()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = json.loads(args.json.read_text("utf-8")) if args.json.exists() else {"rows": []}
    if not args.table:
        fill(found, args)
    page_of = args.json.with_suffix(".md")
    page_of.write_text(page(found), "utf-8")


def fill(found: dict[str, Any], args: argparse.Namespace) -> None:
    """Compute the rows that are missing, and keep each at once."""
    spec = load(find(args.spec), args.budget)
    found |= {
        "title": spec.title,
        "command": f"python experiments/every_layer.py {args.spec}",
        "versions": versions(),
    }
    run = Run(batch_size=250, device=args.device)
    bench = Bench(Store(args.out), run, data_root=args.data_root)
    done = {(row["pair"], row["row"], row["seed"]) for row in found["rows"]}
    args.json.parent.mkdir(parents=True, exist_ok=True)
    for row in spec.rows:
        for cell in row.cells:
            key = row.pair, row.label, cell.seed
            if key in done or (args.pairs and row.pair not in args.pairs):
                continue
            found["rows"].append(measured(bench, row, cell, args.layers))
            args.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
            print(*key, found["rows"][-1]["seconds in all"], file=sys.stderr, flush=True)


def measured(bench: Bench, row: Row, cell: Cell, count: int) -> dict[str, Any]:
    """One network: how it came about, and everything that is read of it."""
    begun = time.perf_counter()
    ready = bench.prepared(cell)
    models, seconds, how = bench.models(cell)
    fit = samples([one.forget for one in ready.steps], ready.steps[-1].retain, bench.run)
    last = ready.steps[-1]
    test = samples([last.test_forget], last.test_retain, bench.run)
    return {
        "pair": row.pair,
        "row": row.label,
        "seed": cell.seed,
        "device": bench.run.device or "cpu",
        "seconds": seconds,
        "epochs": [len(one) for one in how.get("history", [])],
        "read": read_at_layers(models[-1], fit, test, count),
        "trained on": [
            relearned(models[-1], fit, test, m, draw) for m in SHOTS for draw in range(DRAWS)
        ],
        "seconds in all": round(time.perf_counter() - begun, 1),
    }


if __name__ == "__main__":
    main()
