"""Models and forget samples of the benchmarks: the trained All-CNN where the shared data are, else
random weights.
"""

from __future__ import annotations

import copy
import io
import os
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SHARED = Path(os.environ.get("UNSPAN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
CHECKPOINT, DATA = (
    SHARED / "checkpoints/allcnn-cifar10-original.safetensors",
    SHARED / "data/cifar10/train.parquet",
)
BATCH, DEER = 64, 4


class Lazy(torch.utils.data.Dataset):
    """Random images made when they are read: the data take no memory."""

    def __init__(self, count: int, size: int):
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        if not 0 <= index < self.count:
            raise IndexError(index)
        return (
            torch.randn(3, self.size, self.size, generator=torch.Generator().manual_seed(index)),
            0,
        )


def make(name: str, small: bool = False) -> tuple[nn.Module, int, int, str]:
    """Model, d, image size and a description; `small` is for the memory test (same d, cheaper
    forward pass).
    """
    torch.manual_seed(0)
    if name == "allcnn":
        from safetensors.torch import load_file

        from unspan.zoo import AllCNN

        model = AllCNN().eval()
        if CHECKPOINT.exists():
            model.load_state_dict(load_file(CHECKPOINT))
        size = 16 if small else 32
        return (
            model,
            96,
            size,
            f"AllCNN half width, {'trained' if CHECKPOINT.exists() else 'random'}, {size} px",
        )
    if name == "resnet18":
        from transformers import ResNetConfig, ResNetForImageClassification

        config = ResNetConfig(
            depths=[2, 2, 2, 2], layer_type="basic", hidden_sizes=[64, 128, 256, 512], num_labels=10
        )
        size = 32 if small else 112
        return (
            ResNetForImageClassification(config).eval(),
            512,
            size,
            f"ResNet-18, random weights, {size} px",
        )
    from transformers import ViTConfig, ViTForImageClassification

    size, layers = (16, 1) if small else (32, 4)
    config = ViTConfig(num_hidden_layers=layers, image_size=size, patch_size=8, num_labels=10)
    words = f"ViT-B width, {layers} layers, patch 8, random weights, {size} px"
    return ViTForImageClassification(config).eval(), 768, size, words


def images(model: nn.Module, name: str, n: int, size: int) -> tuple[TensorDataset, str]:
    """Forget samples in memory, so that reading them hides no overhead."""
    if name == "allcnn" and DATA.exists() and CHECKPOINT.exists():
        import numpy as np
        import pyarrow.parquet as pq
        from PIL import Image

        table = pq.read_table(DATA, filters=[("label", "=", DEER)]).slice(0, n)
        raw = np.stack(
            [np.asarray(Image.open(io.BytesIO(one["bytes"]))) for one in table["img"].to_pylist()]
        )
        x = (
            torch.from_numpy(raw)
            .permute(0, 3, 1, 2)
            .float()
            .div_(255)
            .sub_(0.5)
            .div_(0.5)
            .contiguous()
        )
        return (
            TensorDataset(x, torch.full((len(x),), DEER)),
            "CIFAR-10 (JPEG copy), train images of class deer",
        )
    x = torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))
    label = int(scores(model, x[:BATCH]).argmax(1).mode().values)
    absent = "; shared data absent" if name == "allcnn" else ""
    return (
        TensorDataset(x, torch.full((n,), label)),
        f"random images, all labelled with the usual prediction{absent}",
    )


def scores(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        out = model(x)
    return out if isinstance(out, torch.Tensor) else out.logits


def bare(model: nn.Module, data, channels_last: bool = False) -> None:
    """One forward pass over the data, and nothing else."""
    model.eval()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = copy.deepcopy(model).to(memory_format=layout) if channels_last else model
    with torch.no_grad():
        for x, _ in DataLoader(data, batch_size=BATCH):
            model(x.to(memory_format=layout))
