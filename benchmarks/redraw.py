"""Latency of an embedding model that carries the eraser of redraw, over the same without it.

dlib's face network (d = 128) and a speaker encoder of the size of resemblyzer's (three LSTM layers
of 256, d = 256). Weights are random: time does not depend on them. Calls come in pairs, in
alternating order. The ratio of a pair is of processor time, which other programs change less than
the clock. `again` is the original over a copy of itself.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unspan.artifact.receipt import versions
from unspan.erasers import Redrawer
from unspan.extraction import attach, find_feature_layer
from unspan.zoo.face import FaceNet

GOAL = 1.05
RESAMPLED = 10_000  # bootstrap samples of pairs


class SpeakerNet(nn.Module):
    """Input `[n, 160, 40]` mel frames; output `[n, 256]` of length 1, as resemblyzer's encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, x: Tensor) -> Tensor:
        last = self.lstm(x)[1][0][-1]
        return nn.functional.normalize(self.linear(last).relu(), dim=1)


MODELS = {"face": (FaceNet, (3, 150, 150)), "speaker": (SpeakerNet, (160, 40))}


def with_redraw(model: nn.Module, x: Tensor) -> nn.Module:
    """A copy that carries a redrawer with random numbers in it."""
    made = copy.deepcopy(model)
    layer, _ = find_feature_layer(made, x[:2], whole=True)
    draw, d = torch.Generator().manual_seed(0), layer.dim

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw) / d**0.5

    eraser = Redrawer(
        mean=drawn(d),
        quadratic=drawn(d, d),
        direction=drawn(d),
        threshold=torch.zeros(()),
        frequencies=drawn(d, d),
        phases=drawn(d),
        mixing=drawn(d, d),
    )
    attach(made, layer, eraser)
    return made.eval()


def ratios(first: nn.Module, second: nn.Module, x: Tensor, pairs: int) -> np.ndarray:
    """Time of the second model over that of the first, for each pair of calls."""
    found = []
    with torch.inference_mode():
        for number in range(pairs + 2):
            taken = {}
            for model in (first, second) if number % 2 else (second, first):
                begun = time.process_time()
                model(x)
                taken[id(model)] = time.process_time() - begun
            found.append(taken[id(second)] / taken[id(first)])
    return np.array(found[2:])  # the first calls allocate


def summary(found: np.ndarray) -> dict[str, float]:
    """Median of the pairs, with its 95 % bootstrap interval."""
    draws = np.random.default_rng(0).integers(0, len(found), (RESAMPLED, len(found)))
    low, high = np.quantile(np.median(found[draws], 1), [0.025, 0.975])
    return {"ratio": float(np.median(found)), "low": float(low), "high": float(high)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--json", type=Path, default=Path("results/bench-latency-redraw.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, (build, shape) in MODELS.items():
        torch.manual_seed(0)
        model = build().eval()
        for batch in args.batches:
            x = torch.randn(batch, *shape)
            others = {"redraw": with_redraw(model, x.expand(max(batch, 2), *shape))}
            others["again"] = copy.deepcopy(model)
            for what, other in others.items():
                found = summary(ratios(model, other, x, args.pairs))
                rows.append({"model": name, "batch": batch, "what": what, **found})
                print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": " ".join(["python", "benchmarks/redraw.py", *sys.argv[1:]]),
        "goal": GOAL,
        "pairs": args.pairs,
        "threads": 1,
        "cores": os.cpu_count(),
        "versions": versions(),
        "rows": rows,
    }
    args.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
