"""The residual networks of He et al. (2015, section 4.2) for images of 32 x 32 pixels.

Layer names and preparation are those of chenyaofo/pytorch-cifar-models, whose CIFAR-100 weights
load strictly.
"""

from typing import Any, ClassVar

from torch import Tensor, nn

from unspan.zoo.inputs import pixels

_WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm beside a shortcut.

    Input `[n, inputs, height, width]`; output `[n, outputs, height / stride, width / stride]`,
    non-negative.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        stride: Of the first convolution, and of the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(inner)) + self.downsample(x))


class CifarResNet(nn.Module):
    """A residual network of `6 * blocks + 2` layers: ResNet-20 has 3 blocks, ResNet-56 has 9.

    Input `[n, 3, height, width]`, made for 32 x 32; features `[n, 64]`, non-negative; output `[n,
    num_classes]` logits.

    Args:
        blocks: Blocks of each of the three stages, of 16, 32 and 64 channels.
        num_classes: Outputs of the last layer.
    """

    preprocess: ClassVar[dict[str, Any]] = pixels(
        (0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)
    )

    def __init__(self, blocks: int = 3, num_classes: int = 100) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU()
        inputs = _WIDTHS[0]
        for number, width in enumerate(_WIDTHS, start=1):
            first = BasicBlock(inputs, width, stride=1 if number == 1 else 2)
            others = [BasicBlock(width, width, stride=1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *others))
            inputs = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        for number in range(1, len(_WIDTHS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(self.flatten(self.avgpool(x)))


def resnet20(num_classes: int = 100) -> CifarResNet:
    """`CifarResNet` of 20 layers, 0.27 million weights."""
    return CifarResNet(3, num_classes)


def resnet32(num_classes: int = 100) -> CifarResNet:
    """`CifarResNet` of 32 layers, 0.47 million weights."""
    return CifarResNet(5, num_classes)


def resnet44(num_classes: int = 100) -> CifarResNet:
    """`CifarResNet` of 44 layers, 0.66 million weights."""
    return CifarResNet(7, num_classes)


def resnet56(num_classes: int = 100) -> CifarResNet:
    """`CifarResNet` of 56 layers, 0.86 million weights."""
    return CifarResNet(9, num_classes)
