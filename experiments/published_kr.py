"""Is KR here the score that was published? Our loop beside the published one, written out plainly.

The published protocol, as any reader of the paper would write it in PyTorch: `nn.Linear` with
Xavier normal weight and zero bias, cross-entropy, SGD with rate 1e-3, neither momentum nor decay,
batches of 64 from a shuffling `DataLoader`, ten epochs over all 50,000 training images. Both see
the same features of the CIFAR-10 All-CNN, class deer: as they are, and after ESC. Each with its own
random numbers, so a seed of one is not that of the other: means and deviations are compared.

    python experiments/published_kr.py --json results/published-kr.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _cached_features import accuracies, cached
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from unspan.methods import ESC, FitContext
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import published_probe

KEYS = ("D_f", "D_r", "D_ft", "D_rt")
ALLOWED = 0.5  # percentage points between the means


def published(fit: Outputs, test: Outputs, seed: int) -> dict[str, float]:
    """Accuracies in percent after the published training, in plain PyTorch."""
    torch.manual_seed(seed)
    head = nn.Linear(fit.features.shape[1], fit.classes())
    nn.init.xavier_normal_(head.weight)
    nn.init.zeros_(head.bias)
    sgd = torch.optim.SGD(head.parameters(), lr=1e-3)
    loss = nn.CrossEntropyLoss()
    rows = TensorDataset(fit.features, fit.labels)
    order = BatchSampler(RandomSampler(rows), 64, drop_last=False)
    loader = DataLoader(rows, sampler=order, batch_size=None)  # 64 rows at once, not one by one
    for _ in range(10):
        for x, y in loader:
            sgd.zero_grad()
            loss(head(x), y).backward()
            sgd.step()
    with torch.no_grad():
        found = [*accuracies(head(fit.features), fit), *accuracies(head(test.features), test)]
    return dict(zip(KEYS, found, strict=True))


def ours(fit: Outputs, test: Outputs, seed: int) -> dict[str, float]:
    """Accuracies in percent as `unspan` measures them."""
    detail = published_probe(fit, test, seed).detail
    return {key: detail[key] for key in KEYS}


def timed(
    measure: Callable[[Outputs, Outputs, int], dict[str, float]],
    fit: Outputs,
    test: Outputs,
    seeds: list[int],
) -> dict[str, Any]:
    """Accuracies by seed, their means and deviations, and the median CPU seconds of a seed."""
    found, spent = [], []
    for seed in seeds:
        started = time.process_time()
        found.append(measure(fit, test, seed))
        spent.append(time.process_time() - started)
    columns = {key: [one[key] for one in found] for key in KEYS}
    return {
        "seeds": dict(zip(map(str, seeds), found, strict=True)),
        "mean": {key: statistics.fmean(values) for key, values in columns.items()},
        "deviation": {key: statistics.stdev(values) for key, values in columns.items()},
        "CPU seconds": round(statistics.median(spent), 2),
    }


def compared(fit: Outputs, test: Outputs, seeds: list[int]) -> dict[str, Any]:
    """Both loops on the same features, and the largest difference of their means in points."""
    plain, own = (timed(loop, fit, test, seeds) for loop in (published, ours))
    gaps = {key: own["mean"][key] - plain["mean"][key] for key in KEYS}
    largest = max(abs(gap) for gap in gaps.values())
    return {"published loop": plain, "ours": own, "difference": gaps, "largest": largest}


def main() -> None:
    """Measure both, print, write the JSON; ends with 1 where the means are too far apart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, default=Path("results/published-kr.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    network = cached()
    gone = network.fit.rows(network.fit.forget)
    esc = ESC().fit(FitContext.from_tensors(gone.features, gone.labels)).eraser
    found: dict[str, Any] = {
        "data": "CIFAR-10 (JPEG copy), All-CNN, class deer, percent, all 50,000 training images",
        "command": "python experiments/published_kr.py",
        "original": compared(network.fit, network.test, given.seeds),
        "ESC": compared(*network.erased(esc), given.seeds),
    }
    given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))
    largest = max(found[name]["largest"] for name in ("original", "ESC"))
    if largest > ALLOWED:
        raise SystemExit(f"The means are {largest:.2f} points apart, more than {ALLOWED}.")


if __name__ == "__main__":
    main()
