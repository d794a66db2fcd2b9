"""CPU time of the MLP probe's training step, with the gradient written out and with autograd.

Both train the same networks on the same rows, with the same optimiser, on one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unspan.metrics import mlp

CLASSES, SEEDS, STEPS = 10, 3, 400


def recorded(layers: list[Tensor], adam: torch.optim.Adam, x: Tensor, labels: Tensor) -> None:
    """A step with the gradient that autograd finds."""
    adam.zero_grad()
    scores = mlp.forward(tuple(layers), x)
    loss = cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="sum") / x.shape[1]
    squares = layers[0].square().sum() + layers[2].square().sum()
    (loss + mlp.DECAY / 2 * squares).backward()
    adam.step()


def seconds(dim: int, *, by_hand: bool) -> float:
    """CPU seconds of `STEPS` steps on features of this width."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, dim, generator=draw)
    labels = torch.randint(CLASSES, (len(x),), generator=draw)
    rows = torch.randint(len(x), (STEPS, SEEDS, mlp.BATCH), generator=draw)
    generators = [torch.Generator().manual_seed(seed) for seed in range(SEEDS)]
    pack, layers = mlp._start(dim, CLASSES, generators)
    pack.grad = torch.zeros_like(pack)
    slopes = mlp._parts(pack.grad, SEEDS, dim, CLASSES)
    leaves = [layer.clone().requires_grad_() for layer in layers]
    adam = torch.optim.Adam([pack] if by_hand else leaves, lr=mlp.RATE, fused=by_hand)
    begun = time.process_time()
    for some in rows:
        if by_hand:
            mlp._descent(layers, slopes, x[some], labels[some])
            adam.step()
        else:
            recorded(leaves, adam, x[some], labels[some])
    return time.process_time() - begun


def main() -> None:
    """Print and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for dim in (64, 96, 768):
        pairs = [
            {"autograd": seconds(dim, by_hand=False), "written out": seconds(dim, by_hand=True)}
            for _ in range(given.pairs)
        ]
        ratios = sorted(one["written out"] / one["autograd"] for one in pairs)
        found[dim] = {"ratio": round(ratios[len(ratios) // 2], 3), "pairs": pairs}
        print(dim, found[dim]["ratio"], flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
