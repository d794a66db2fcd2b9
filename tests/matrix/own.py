"""Networks as a user's own file makes them, for `--model python:own.py:NAME`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

PREPROCESS = {"resize": [32, 32], "mean": [0.45] * 3, "std": [0.25] * 3}


class SmallCNN(nn.Module):
    """Three convolutions and a mean over the pixels, without a module for either."""

    preprocess = PREPROCESS

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 48, 3, 2, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(48)
        self.conv3 = nn.Conv2d(48, 96, 3, 2, 1)
        self.fc = nn.Linear(96, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.norm1(self.conv1(images)))
        maps = F.relu(self.norm2(self.conv2(maps)))
        maps = F.relu(self.conv3(maps))
        return self.fc(maps.mean(dim=(2, 3)))


class MLP(nn.Sequential):
    """Pixels, two layers, scores."""

    preprocess = PREPROCESS

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(3 * 32 * 32, 96),
            nn.ReLU(),
            nn.Linear(96, 80),
            nn.ReLU(),
            nn.Linear(80, num_classes),
        )


def cnn(num_classes: int = 4) -> nn.Module:
    """The convolutional network."""
    return SmallCNN(num_classes)


def mlp(num_classes: int = 4) -> nn.Module:
    """The fully connected network."""
    return MLP(num_classes)


def swin(num_classes: int = 4) -> nn.Module:
    """A Swin transformer of timm for small pictures, which its name alone does not build."""
    import timm

    model = timm.create_model(
        "swin_tiny_patch4_window7_224",
        num_classes=num_classes,
        img_size=32,
        patch_size=2,
        window_size=4,
        embed_dim=32,
        depths=(1, 1, 2),
        num_heads=(1, 2, 4),
    )
    model.preprocess = PREPROCESS
    return model


def mixer(num_classes: int = 4) -> nn.Module:
    """An MLP-Mixer of timm for small pictures."""
    from timm.models.mlp_mixer import MlpMixer

    model = MlpMixer(num_classes=num_classes, img_size=32, patch_size=8, num_blocks=3, embed_dim=96)
    model.preprocess = PREPROCESS
    return model
