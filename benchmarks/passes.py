"""CPU time of one forward pass as the model is given, and as `unspan` makes it (channels last for
networks of convolutions), and of `unspan.features` over a plain call at a batch of 2.

    python benchmarks/passes.py --json results/passes.json

Both forms alternate on one thread; figures are medians of user and system time in milliseconds an
image. Weights are random: time does not depend on them.
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
from torch import Tensor, nn

import unspan
from unspan.extraction import arranged, eval_mode, forward, relative_difference
from unspan.zoo import AllCNN


def residual(width: int = 64) -> nn.Module:
    """Eight convolutions with shortcuts, as the first stages of a ResNet-18 have them."""

    class Block(nn.Module):
        def __init__(self, given: int, made: int, stride: int):
            super().__init__()
            self.one = nn.Conv2d(given, made, 3, stride, 1, bias=False)
            self.two = nn.Conv2d(made, made, 3, 1, 1, bias=False)
            self.norm, self.other = nn.BatchNorm2d(made), nn.BatchNorm2d(made)
            self.short = nn.Conv2d(given, made, 1, stride, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            y = self.other(self.two(self.norm(self.one(x)).relu()))
            return (y + self.short(x)).relu()

    blocks = [Block(3, width, 2), Block(width, width, 1), Block(width, 2 * width, 2)]
    return nn.Sequential(
        *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10)
    ).eval()


def cpu(call: Callable[[], Any]) -> float:
    """User and system seconds of a call."""
    before = time.process_time()
    call()
    return time.process_time() - before


def passes(model: nn.Module, x: Tensor, rounds: int) -> dict[str, float]:
    """Milliseconds an image of both forms, their ratio, and how far the outputs are apart."""

    def ours() -> Any:
        with arranged(model, x) as inputs:
            return forward(model, inputs)

    with eval_mode(model):
        apart = relative_difference(model(x), ours())
        times = [(cpu(lambda: model(x)), cpu(ours)) for _ in range(rounds)]
    plain, now = (1e3 * statistics.median(one) / len(x) for one in zip(*times, strict=True))
    return {"plain": plain, "arranged": now, "ratio": now / plain, "apart": apart}


def features(model: nn.Module, x: Tensor, rounds: int) -> float:
    """CPU time of `unspan.features` over that of a plain call, a hundred calls each."""
    unspan.features(model, x)
    with eval_mode(model):
        times = [
            (
                cpu(lambda: [model(x) for _ in range(100)]),
                cpu(lambda: [unspan.features(model, x) for _ in range(100)]),
            )
            for _ in range(rounds)
        ]
    return statistics.median(ours / plain for plain, ours in times)


def main() -> None:
    """Time all, print a table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    image = torch.randn(64, 3, 32, 32)
    mlp = nn.Sequential(nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10)).eval()
    tried = {
        "All-CNN, batch 64": (AllCNN().eval(), image),
        "residual, batch 64": (residual(), image),
        "MLP, batch 64": (mlp, torch.randn(64, 96)),
    }
    found: dict[str, Any] = {
        name: passes(model, x, given.rounds) for name, (model, x) in tried.items()
    }
    found["features over a plain call, batch 2"] = {
        "All-CNN": features(tried["All-CNN, batch 64"][0], image[:2], given.rounds),
        "MLP": features(mlp, torch.randn(2, 96), given.rounds),
    }
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
