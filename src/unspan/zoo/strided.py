"""A small network for images of 64 pixels that trains in minutes on one core."""

from typing import Any, ClassVar

from torch import Tensor, nn

from unspan.zoo.inputs import pixels

_LAYERS = [  # in, out, stride; 3 x 3 throughout
    (3, 32, 2),
    (32, 64, 2),
    (64, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
]


class StridedCNN(nn.Module):
    """Five convolutions with batch norm, three of which halve the sides.

    Input `[n, 3, height, width]`, made for 64 x 64, 29 million multiplications an image; features
    `[n, 128]`, non-negative; output `[n, num_classes]` logits.

    Args:
        num_classes: Outputs of the last layer.
    """

    preprocess: ClassVar[dict[str, Any]] = pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), resize=(64, 64))

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for number, (inputs, outputs, stride) in enumerate(_LAYERS, start=1):
            conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            self.layers.add_module(f"conv{number}", conv)
            self.layers.add_module(f"bn{number}", nn.BatchNorm2d(outputs))
            self.layers.add_module(f"relu{number}", nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(_LAYERS[-1][1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.pool(self.layers(x))))
