"""A narrow vision transformer for images of 32 x 32 pixels, after Dosovitskiy et al. (2021)."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unspan.zoo.inputs import pixels


class EncoderBlock(nn.Module):
    """Self-attention and two dense layers, each behind a layer norm and beside a shortcut.

    Input and output `[n, tokens, width]`.

    Args:
        width: Numbers of a token.
        heads: Of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attention(self.norm1(x))
        return x + self.fc2(self.gelu(self.fc1(self.norm2(x))))

    def _attention(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        split = self.qkv(x).view(n, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        # written out: on a processor the backward pass of torch's fused attention takes half of
        # the training of this network
        scores = (query * self.scale) @ key.transpose(-2, -1)
        mixed = scores.softmax(-1).to(value.dtype) @ value
        return self.proj(mixed.transpose(1, 2).reshape(n, tokens, width))


class NarrowViT(nn.Module):
    """A pre-norm vision transformer: 64 patches of 4 x 4 pixels, six blocks, mean of the tokens.

    Input `[n, 3, 32, 32]`; features `[n, width]`; output `[n, num_classes]` logits. 1.2 million
    weights at the width given.

    Args:
        num_classes: Outputs of the last layer.
        width: Numbers of a token, a multiple of 32, the width of a head of the attention.
    """

    preprocess: ClassVar[dict[str, Any]] = pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(self, num_classes: int = 10, width: int = 128) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, kernel_size=4, stride=4)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.blocks = nn.Sequential(*[EncoderBlock(width, width // 32) for _ in range(6)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(tokens)).mean(1))
