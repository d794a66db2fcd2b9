"""Random flips and crops of image minibatches, from a stream of randomness of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from unspan.errors import UsageError

KINDS = ("none", "flip", "crop-flip")
_PAD = 4  # pixels of zeros around an image of 32 pixels, in proportion for others


def augmented(x: Any, kind: str, generator: torch.Generator) -> Any:
    """Flip half of the images; for `crop-flip` also cut them at a random place out of a zero-padded
    copy.

    Args:
        x: `[n, channels, height, width]`.
        kind: `none`, `flip` or `crop-flip`.
        generator: of the draws, the same on every device.

    Raises:
        UsageError: not images.
    """
    if kind == "none":
        return x
    if not isinstance(x, Tensor) or x.ndim != 4:
        raise UsageError(
            f"augment={kind!r} is for batches of images [n, channels, height, width]; use"
            " augment='none'."
        )
    n, _, height, width = x.shape
    flipped = (torch.rand(n, generator=generator) < 0.5).to(x.device)
    x = torch.where(flipped[:, None, None, None], x.flip(3), x)
    if kind == "flip":
        return x
    margin = max(1, round(_PAD * height / 32))
    top, left = (
        torch.randint(2 * margin + 1, (n,), generator=generator).to(x.device) for _ in range(2)
    )
    rows, columns = (
        start[:, None] + torch.arange(size, device=x.device)
        for start, size in ((top, height), (left, width))
    )
    which = torch.arange(n, device=x.device)[:, None, None]
    return (
        pad(x, (margin,) * 4)
        .permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
        .permute(0, 3, 1, 2)
    )
