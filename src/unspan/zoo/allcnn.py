"""The all-convolutional network of the paper's CIFAR-10 table, at half width."""

from typing import Any, ClassVar

from torch import Tensor, nn

from unspan.zoo.inputs import pixels

_ALLCNN_LAYERS = [  # in, out, kernel, stride
    (3, 48, 3, 1),
    (48, 48, 3, 1),
    (48, 96, 3, 2),
    (96, 96, 3, 1),
    (96, 96, 3, 1),
    (96, 96, 3, 2),
    (96, 96, 3, 1),
    (96, 96, 1, 1),
]


class AllCNN(nn.Module):
    """The all-convolutional network of Springenberg et al. (2015) at half width, with batch norm.

    Input `[n, 3, height, width]`, made for 32 x 32; features `[n, 96]`, non-negative; output `[n,
    num_classes]` logits.

    Args:
        num_classes: Outputs of the last layer.
    """

    preprocess: ClassVar[dict[str, Any]] = pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        for number, (inputs, outputs, kernel, stride) in enumerate(_ALLCNN_LAYERS, start=1):
            conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", nn.BatchNorm2d(outputs))
            self.add_module(f"relu{number}", nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(96, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for number in range(1, len(_ALLCNN_LAYERS) + 1):
            for layer in ("conv", "bn", "relu"):
                x = self.get_submodule(f"{layer}{number}")(x)
        return self.head(self.flatten(self.pool(x)))
