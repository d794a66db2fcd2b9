"""scikit-learn's handwritten digits and a small network for them: what `make demo` erases a class
from.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Subset, TensorDataset

from unspan.zoo import DigitsCNN

WEIGHTS = Path("build/digits.safetensors")
FORGOTTEN, SEEDS = 3, (1, 2, 3)


def data() -> dict[str, Subset[tuple[torch.Tensor, ...]]]:
    """Train and test splits of 1,797 real 8x8 images, every fifth for test."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    whole = TensorDataset(images, torch.tensor(digits.target))
    return {
        "train": Subset(whole, [i for i in range(len(whole)) if i % 5]),
        "test": Subset(whole, [i for i in range(len(whole)) if i % 5 == 0]),
    }


def model(num_classes: int = 10) -> nn.Module:
    """The architecture, without weights."""
    return DigitsCNN(num_classes)


def tensors(split: Subset[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images `[n, 1, 8, 8]` and labels `[n]` of a split."""
    images, labels = zip(*split, strict=True)
    return torch.stack(images), torch.stack(labels)


def trained(
    images: torch.Tensor, labels: torch.Tensor, num_classes: int = 10, seed: int = 0
) -> nn.Module:
    """A network trained on these images for a few seconds, in evaluation mode."""
    torch.manual_seed(seed)
    net = model(num_classes)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(12):
        for batch in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimiser.step()
    return net.eval()


def train() -> None:
    """Write `build/digits.safetensors`, and three networks that never saw a three beside it."""
    images, labels = tensors(data()["train"])
    WEIGHTS.parent.mkdir(exist_ok=True)
    save_file(trained(images, labels).state_dict(), WEIGHTS)
    rest = labels != FORGOTTEN
    for seed in SEEDS:
        net = trained(images[rest], labels[rest], seed=seed)
        path = WEIGHTS.with_name(f"digits-without-{FORGOTTEN}-{seed}.safetensors")
        save_file(net.state_dict(), path)


if __name__ == "__main__":
    train()
