"""Networks and data of `experiments/survive.py`; networks not given are trained here."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    return {split: tensors(parts[split]) for split in ("train", "test")}


def fashion_mnist() -> dict[str, TensorDataset]:
    """For the command line: `--data python:experiments._networks:fashion_mnist`."""
    return {split: TensorDataset(*part) for split, part in data("fashion-mnist").items()}


def tensors(part: Any) -> Split:
    """All samples of a dataset, prepared, and their labels."""
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


def train(
    model: nn.Module,
    fit: Split,
    epochs: int,
    *,
    batch: int = 128,
    lr: float = 0.1,
    change: Callable[[Tensor], Tensor] | None = None,
    checkpoint: Path | None = None,
) -> None:
    """SGD with Nesterov momentum, weight decay 5e-4 and one cycle; bf16 where the CPU has it.

    Args:
        model: Changed in place.
        fit: Images `[n, 3, 32, 32]` and labels `[n]`.
        epochs: Passes over the images.
        batch: Images a step.
        lr: Highest learning rate.
        change: Alters the images of a step; by default flips and shifts of up to 3 pixels.
        checkpoint: Written after every epoch; a run that finds it goes on from there.
    """
    x, y = fit
    change = flipped_and_shifted if change is None else change
    model.train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, lr, total_steps=epochs * math.ceil(len(x) / batch)
    )
    first = 0 if checkpoint is None else _resumed(checkpoint, model, optimiser, schedule)
    fast = torch.backends.cpu.get_cpu_capability() == "AVX512"
    for epoch in range(first, epochs):
        total = 0.0
        for index in torch.randperm(len(x)).split(batch):
            images = change(x[index]).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                scores = model(images)
            loss = F.cross_entropy(scores.float(), y[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(index)
        print(f"epoch {epoch + 1}: loss {total / len(x):.3f}", flush=True)
        if checkpoint is not None:
            state = [part.state_dict() for part in (model, optimiser, schedule)]
            part = checkpoint.with_suffix(".part")
            torch.save({"epoch": epoch + 1, "state": state, "draws": torch.get_rng_state()}, part)
            part.replace(checkpoint)


def flipped_and_shifted(images: Tensor) -> Tensor:
    """All images of a step moved by the same few pixels, and half of the steps mirrored."""
    images = images.flip(3) if torch.rand(()) < 0.5 else images
    row, column = torch.randint(0, 7, (2,))
    return F.pad(images, (3, 3, 3, 3))[:, :, row : row + 32, column : column + 32]


def flipped(images: Tensor) -> Tensor:
    """Every image mirrored with probability one half."""
    return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(3), images)


def _resumed(checkpoint: Path, *parts: Any) -> int:
    """Epochs that are done; the parts are put into the state after them."""
    if not checkpoint.is_file():
        return 0
    kept = torch.load(checkpoint)
    for part, state in zip(parts, kept["state"], strict=True):
        part.load_state_dict(state)
    torch.set_rng_state(kept["draws"])
    return int(kept["epoch"])
