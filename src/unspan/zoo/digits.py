"""A network for the digits of scikit-learn, which trains in seconds."""

from typing import Any, ClassVar

from torch import Tensor, nn

from unspan.zoo.inputs import pixels


class DigitsCNN(nn.Module):
    """A network for the 8 x 8 digits of scikit-learn, trained in seconds.

    Input `[n, 1, 8, 8]`, pixels 0 to 16 divided by 16; features `[n, width]`, non-negative; output
    `[n, num_classes]` logits.

    Args:
        num_classes: Outputs of the last layer.
        width: Number of features.
    """

    preprocess: ClassVar[dict[str, Any]] = pixels((0.0,), (1.0,), scale=1 / 16)

    def __init__(self, num_classes: int = 10, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(512, width)
        self.relu3 = nn.ReLU()
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu2(self.conv2(self.relu1(self.conv1(x))))
        return self.head(self.relu3(self.fc(self.flatten(self.pool(x)))))


def wide_digits(num_classes: int = 10) -> DigitsCNN:
    """`DigitsCNN` with 96 features, as many as `AllCNN`, so that shares of directions mean the
    same.
    """
    return DigitsCNN(num_classes, width=96)
