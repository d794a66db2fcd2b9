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


def train(epochs: int = 12) -> None:
    """Train for a few seconds and write `build/digits.safetensors`."""
    torch.manual_seed(0)
    net, train_set = model(), data()["train"]
    images = torch.stack([image for image, _ in train_set])
    labels = torch.stack([label for _, label in train_set])
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimiser.step()
    WEIGHTS.parent.mkdir(exist_ok=True)
    save_file(net.state_dict(), WEIGHTS)


if __name__ == "__main__":
    train()
