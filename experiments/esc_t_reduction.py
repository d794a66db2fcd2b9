"""Which choice decides what the published probe reads after ESC-T: the step size, or how the loss
of a minibatch is averaged?

Equation 4 of the paper, read literally, averages over the minibatch (`reduction="batch"`). The
released code averages over the samples that are still recognised (`reduction="correct"`), so its
steps do not shrink while fewer are left. Both at several step sizes, on the CIFAR-10 All-CNN, class
deer, 5,000 images. Read by the published probe on all 50,000 training images and, once, by a linear
probe trained to the end. A seed is that of the order of ESC-T and of the published probe.

    python experiments/esc_t_reduction.py               # every cell that is missing, then the table
    python experiments/esc_t_reduction.py --seeds 0 --rates 1e-3
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from _cached_features import Cached, accuracies, cached

from unspan.errors import UnspanError
from unspan.methods import ESC, ESCT, FitContext
from unspan.methods.base import EraserMethod
from unspan.metrics.linear import linear_probe
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import published_probe

RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
AVERAGED = {"batch": "minibatch (eq. 4)", "correct": "recognised (released)"}
OWN = ("D_f", "D_r", "D_ft", "D_rt")
PROBE = ("probe D_ft", "probe D_rt", "probe false positives")
SHOWN = (*OWN, *(f"KR {name}" for name in OWN), *PROBE, "epochs")
Cells = dict[str, dict[str, Any]]


def context(network: Cached, seed: int) -> FitContext:
    """The forget features of a network, and its head."""
    gone = network.fit.rows(network.fit.forget)
    head = (network.weight.double(), network.bias.double())
    return FitContext.from_tensors(gone.features, gone.labels, head=head, seed=seed)


def measured(fit: Outputs, test: Outputs, seed: int) -> dict[str, Any]:
    """Percent: the network's own accuracies, and what both probes read.

    The converged probe hardly depends on its seed, so it runs with the first one only.
    """
    assert fit.logits is not None
    assert test.logits is not None
    found: dict[str, Any] = dict(
        zip(OWN, (*accuracies(fit.logits, fit), *accuracies(test.logits, test)), strict=True)
    )
    published = published_probe(fit, test, seed).detail
    found |= {f"KR {name}": published[name] for name in OWN}
    if seed:
        return found
    converged = linear_probe(fit, test, seed)
    found["probe D_ft"] = 100 * converged.value
    assert converged.retain is not None
    assert converged.false_positives is not None
    found["probe D_rt"] = 100 * converged.retain
    found["probe false positives"] = 100 * converged.false_positives
    return found


def cell(network: Cached, method: EraserMethod | None, seed: int) -> dict[str, Any]:
    """Everything measured after one method; None measures the network as it is."""
    started = time.process_time()
    if method is None:
        return measured(network.fit, network.test, seed)
    try:
        done = method.fit(context(network, seed))
    except UnspanError as error:
        return {"error": str(error)}
    spent = time.process_time() - started
    found = measured(*network.erased(done.eraser), seed)
    kept = ("epochs", "forget_accuracy_soft_mask", "mask_kept", "map_norm")
    report = {name: done.report[name] for name in kept if name in done.report}
    return found | report | {"CPU seconds of the fit": round(spent, 2)}


def wanted(rates: list[float], seeds: list[int]) -> dict[str, tuple[EraserMethod | None, int]]:
    """Method and seed by the name of a cell."""
    rows: dict[str, EraserMethod | None] = {"original": None, "ESC": ESC()}
    for reduction, rate in itertools.product(AVERAGED, rates):
        rows[f"ESC-T, {reduction}, {rate:g}"] = ESCT(reduction=reduction, lr=rate)
    return {f"{name}, seed {seed}": (row, seed) for seed in seeds for name, row in rows.items()}


def table(cells: Cells) -> str:
    """Markdown: means and standard deviations over seeds."""
    lines = [["method", "mean over", "step size", "seeds", *SHOWN]]
    lines.append(["---"] * len(lines[0]))
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, one in cells.items():
        rows.setdefault(name.rpartition(", seed ")[0], []).append(one)
    for name, found in rows.items():
        method, *settings = name.split(", ")
        reduction, rate = settings or ("", "")
        head = [method, AVERAGED.get(reduction, "–"), rate or "–", str(len(found))]
        if any("error" in one for one in found):
            lines.append([*head, "changes nothing", *["–"] * (len(SHOWN) - 1)])
        else:
            lines.append([*head, *(_number(found, key) for key in SHOWN)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _number(found: list[dict[str, Any]], key: str) -> str:
    values = [one[key] for one in found if key in one]
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.1f}" if len(set(values)) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


def written(cells: Cells, order: list[str], out: Path) -> None:
    """Write the cells and the table of them, in a fixed order."""
    known = {name: cells[name] for name in [*order, *cells] if name in cells}
    text = {
        "data": "CIFAR-10 (JPEG copy), All-CNN, class deer, percent; probes see all 50,000 images",
        "command": "python experiments/esc_t_reduction.py",
        "cells": known,
    }
    (out / "esc-t-reduction.json").write_text(json.dumps(text, indent=1) + "\n", "utf-8")
    page = (
        "ESC-T on the CIFAR-10 All-CNN, class deer. Percent, mean ± deviation over seeds.\n"
        "KR: the published probe on all training images. probe: a linear probe trained to the"
        " end.\n\n" + table(known)
    )
    (out / "esc-t-reduction.md").write_text(page, "utf-8")


def main() -> None:
    """Compute the cells that are missing; each is kept as soon as it is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("results"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    file = given.out / "esc-t-reduction.json"
    cells: Cells = json.loads(file.read_text("utf-8"))["cells"] if file.exists() else {}
    network = cached()
    order = list(wanted(list(RATES), given.seeds))
    for name, (method, seed) in wanted(given.rates, given.seeds).items():
        if name not in cells:
            cells[name] = cell(network, method, seed)
            print(name, json.dumps(cells[name]), flush=True)
            written(cells, order, given.out)
    written(cells, order, given.out)
    print((given.out / "esc-t-reduction.md").read_text("utf-8"))


if __name__ == "__main__":
    main()
