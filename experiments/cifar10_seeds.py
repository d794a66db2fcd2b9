"""Further seeds of the CIFAR-10 network: trained on all classes, and without one of them.

All-CNN by the recipe of the weights that are given: ten epochs, batches of 128, SGD with Nesterov
momentum 0.9, weight decay 5e-4, one cycle up to 0.1, flips. Seed 0 is the given network. Weights
are kept in a folder, and a run that was stopped goes on with the epoch it was in.

    python experiments/cifar10_seeds.py --without 4 --seeds 1 2 3 4
    python experiments/cifar10_seeds.py --seeds 1 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from _networks import data, flipped, train
from safetensors.torch import save_file

from unspan.zoo import AllCNN

EPOCHS = 10


def name_of(without: int | None, seed: int) -> str:
    """The name of a network among the files of this experiment."""
    return f"original-{seed}" if without is None else f"without-{without}-{seed}"


def main() -> None:
    """Train the seeds that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--without", type=int, help="a class that is left out of the training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--folder", type=Path, default=Path("build/cifar10-seeds"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    x, y = data("cifar10")["train"]
    kept = torch.ones_like(y, dtype=torch.bool) if given.without is None else y != given.without
    for seed in given.seeds:
        name = name_of(given.without, seed)
        weights = given.folder / f"{name}.safetensors"
        if weights.exists():
            continue
        print(name, flush=True)
        torch.manual_seed(seed)
        model = AllCNN()
        checkpoint = given.folder / f"{name}.checkpoint"
        train(model, (x[kept], y[kept]), EPOCHS, change=flipped, checkpoint=checkpoint)
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        save_file(state, weights)
        checkpoint.unlink()


if __name__ == "__main__":
    main()
