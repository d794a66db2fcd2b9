"""Is KR here the score that was published? Our loop beside the published one, written out plainly.

The published protocol, as any reader of the paper would write it in PyTorch: `nn.Linear` with
Xavier normal weight and zero bias, cross-entropy, SGD with rate 1e-3, neither momentum nor decay,
batches of 64 from a shuffling `DataLoader`, ten epochs over all 50,000 training images. Both see
the same features of the CIFAR-10 All-CNN, class deer: as they are, and after ESC.

The plain loop runs twice. With the random numbers of ours (first weights and order of samples) what
is left is a difference of the two programs. With random numbers of its own, as any other program
has, means differ by what seeds differ too; that is given with its standard error.

    python experiments/published_kr.py --json results/published-kr.json
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _cached_features import accuracies, cached
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler, TensorDataset

from unspan.methods import ESC, FitContext
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import published_probe

KEYS = ("D_f", "D_r", "D_ft", "D_rt")
ALLOWED = 0.5  # percentage points between the means


def published(fit: Outputs, test: Outputs, seed: int, *, shared: bool) -> dict[str, float]:
    """Accuracies in percent after the published training, in plain PyTorch.

    Args:
        fit: what the head is trained on.
        test: what it is judged on.
        seed: of the first weights and of the order.
        shared: draw both as `published_head` does.
    """
    torch.manual_seed(seed)
    head = nn.Linear(fit.features.shape[1], fit.classes())
    nn.init.xavier_normal_(head.weight)
    nn.init.zeros_(head.bias)
    rows = TensorDataset(fit.features, fit.labels)
    draws = torch.Generator().manual_seed(seed) if shared else None
    if draws is not None:
        scale = (2 / sum(head.weight.shape)) ** 0.5
        with torch.no_grad():
            head.weight.copy_(torch.randn(head.weight.shape, generator=draws) * scale)
    order = OneDraw(rows, draws) if draws is not None else RandomSampler(rows)
    batches = BatchSampler(order, 64, drop_last=False)
    loader = DataLoader(rows, sampler=batches, batch_size=None)  # 64 rows at once, not one by one
    sgd = torch.optim.SGD(head.parameters(), lr=1e-3)
    loss = nn.CrossEntropyLoss()
    for _ in range(10):
        for x, y in loader:
            sgd.zero_grad()
            loss(head(x), y).backward()
            sgd.step()
    with torch.no_grad():
        found = [*accuracies(head(fit.features), fit), *accuracies(head(test.features), test)]
    return dict(zip(KEYS, found, strict=True))


class OneDraw(Sampler[int]):
    """Every epoch a new order by one draw of `torch.randperm`."""

    def __init__(self, rows: TensorDataset, draws: torch.Generator):
        self.count = len(rows)
        self.draws = draws

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self.count, generator=self.draws).tolist())


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
    """All loops on the same features, and how far the means are apart, in points."""
    loops = {
        "published loop, our random numbers": partial(published, shared=True),
        "published loop, its own": partial(published, shared=False),
        "ours": ours,
    }
    found: dict[str, Any] = {name: timed(loop, fit, test, seeds) for name, loop in loops.items()}
    same, own, here = found.values()
    gaps = {key: here["mean"][key] - same["mean"][key] for key in KEYS}
    found["difference, same random numbers"] = gaps
    found["largest"] = max(abs(gap) for gap in gaps.values())
    found["difference, own random numbers"] = {
        key: {
            "points": here["mean"][key] - own["mean"][key],
            "standard error": math.hypot(own["deviation"][key], here["deviation"][key])
            / len(seeds) ** 0.5,
        }
        for key in KEYS
    }
    return found


def main() -> None:
    """Measure both, print, write the JSON; ends with 1 where the means are too far apart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(12)))
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
