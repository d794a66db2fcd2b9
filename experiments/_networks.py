"""Networks and data of `experiments/survive.py`; networks not given are trained here."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from unspan.benchmark.data import opened
from unspan.data.loading import batches
from unspan.data.opening import open_data
from unspan.data.preprocess import Preprocess
from unspan.run import Run
from unspan.zoo import AllCNN

SHARED = Path(os.environ.get("UNSPAN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
Split = tuple[Tensor, Tensor]


class ResNet(nn.Module):
    """A residual network of transformers with six blocks, d = 128, on images scaled to 64 x 64."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import ResNetConfig, ResNetModel

        self.body = ResNetModel(
            ResNetConfig(
                depths=[2, 2, 2], layer_type="basic", embedding_size=32, hidden_sizes=[32, 64, 128]
            )
        )
        self.flatten = nn.Flatten()
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        large = F.interpolate(x, size=64, mode="bilinear")
        return self.head(self.flatten(self.body(large).pooler_output))


def data(name: str) -> dict[str, Split]:
    """Train and test images `[n, 3, 32, 32]` and labels of `cifar10` or `fashion-mnist`."""
    transform = Preprocess.from_dict(AllCNN.preprocess)
    parts = (
        open_data(str(SHARED / "data/cifar10"), transform=transform) if name == "cifar10" else None
    )
    if parts is None:
        found = opened(name, None, transform)
        parts = {"train": found.train, "test": found.test}
    return {split: _tensors(parts[split]) for split in ("train", "test")}


def fashion_mnist() -> dict[str, TensorDataset]:
    """For the command line: `--data python:experiments._networks:fashion_mnist`."""
    return {split: TensorDataset(*part) for split, part in data("fashion-mnist").items()}


def _tensors(part) -> Split:
    read = list(batches(part, Run(batch_size=500)))
    return torch.cat([one.inputs[: len(one)] for one in read]), torch.cat(
        [one.labels for one in read]
    )


def network(
    name: str,
    build: Callable[[], nn.Module],
    fit: Split,
    folder: Path,
    *,
    epochs: int,
    weights: Path | None = None,
) -> nn.Module:
    """A trained network in evaluation mode: from `weights`, from the folder, or trained now and
    kept there.
    """
    torch.manual_seed(0)
    model, kept = build(), folder / f"{name}.safetensors"
    if weights is None and not kept.exists():
        train(model, fit, epochs)
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, kept)
    model.load_state_dict(load_file(weights or kept))
    return model.eval()


def train(model: nn.Module, fit: Split, epochs: int, *, batch: int = 128, lr: float = 0.1) -> None:
    """SGD with Nesterov momentum, weight decay 5e-4, one cycle, flips and shifts of up to 3 pixels,
    bf16.
    """
    x, y = fit
    model.train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, lr, total_steps=epochs * math.ceil(len(x) / batch)
    )
    for epoch in range(epochs):
        total = 0.0
        for index in torch.randperm(len(x)).split(batch):
            images = x[index].flip(3) if torch.rand(()) < 0.5 else x[index]
            row, column = torch.randint(0, 7, (2,))
            images = F.pad(images, (3, 3, 3, 3))[
                :, :, row : row + 32, column : column + 32
            ].contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                scores = model(images)
            loss = F.cross_entropy(scores.float(), y[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(index)
        print(f"epoch {epoch + 1}: loss {total / len(x):.3f}", flush=True)
