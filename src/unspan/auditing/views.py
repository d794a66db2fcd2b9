"""Ten views of each image, one unchanged and nine altered: what an attacker has who may ask more
than once.

One answer to one image can be hidden while answers to altered copies give the class away again.
The attacker averages what he gets for all ten: the features, and the log-probabilities.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Subset

Change = Callable[[Tensor], Tensor]
"""Images `[n, C, H, W]`, as the model takes them, to as many altered ones."""

KNOWN = (250, 750)  # forgotten and retained samples that the attacker learns from
JUDGED = (250, 250)  # and is judged on: ten passes for each cost time
_STEP = 8  # a shift is this part of the side, and a crop loses as much
_NOISE = 0.1  # of the deviation of an image
_QUALITY = 50  # of JPEG


def are_images(inputs: Any) -> bool:
    """Whether inputs of a model are images, the only ones that are altered here."""
    return isinstance(inputs, Tensor) and inputs.ndim == 4 and inputs.is_floating_point()


def some(data: Any, count: int) -> Any:
    """At most `count` samples of a data set, always the same ones."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return Subset(data, sorted(order[:count].tolist()))


def mean_of(features: Sequence[Tensor], scores: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Mean features `[n, d]` and mean log-probabilities `[n, C]` of several views.

    Args:
        features: `[n, d]` of each view.
        scores: `[n, C]` of each view, as logits; empty for a model that gives none.
    """
    told = torch.stack([one.log_softmax(1) for one in scores]).mean(0) if scores else None
    return torch.stack(list(features)).mean(0), told


def unchanged(images: Tensor) -> Tensor:
    """The image itself."""
    return images


def mirrored(images: Tensor) -> Tensor:
    """Left and right exchanged."""
    return images.flip(3)


def _shifted(down: int, right: int) -> Change:
    def change(images: Tensor) -> Tensor:
        """Moved by an eighth of each side; the border is repeated."""
        height, width = images.shape[2:]
        rows, columns = max(height // _STEP, 1), max(width // _STEP, 1)
        padded = functional.pad(images, (columns, columns, rows, rows), mode="replicate")
        top, left = rows * (1 - down), columns * (1 - right)
        return padded[:, :, top : top + height, left : left + width]

    return change


def cropped(images: Tensor) -> Tensor:
    """The middle, without a sixteenth at every border, in the size of the image."""
    height, width = images.shape[2:]
    rows, columns = height // (2 * _STEP), width // (2 * _STEP)
    middle = images[:, :, rows : height - rows, columns : width - columns]
    return functional.interpolate(middle, size=(height, width), mode="bilinear")


def _contrast(factor: float) -> Change:
    def change(images: Tensor) -> Tensor:
        """Differences from the mean of the image, made smaller or larger."""
        middle = images.mean((2, 3), keepdim=True)
        return middle + factor * (images - middle)

    return change


def noisy(images: Tensor) -> Tensor:
    """With Gaussian noise of a tenth of the image's deviation, the same noise for every image."""
    noise = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(0))
    size = _NOISE * images.float().std((1, 2, 3), keepdim=True, unbiased=False)
    return images + (size * noise.to(images.device)).to(images.dtype)


def compressed(images: Tensor) -> Tensor:
    """Stored as JPEG and read again, every channel by itself, in the range of the image."""
    low = images.amin((1, 2, 3), keepdim=True)
    size = (images.amax((1, 2, 3), keepdim=True) - low).clamp(min=1e-12)
    pixels = ((images - low) / size * 255).round().to(torch.uint8).flatten(0, 1).cpu()
    again = torch.stack([_as_jpeg(one) for one in pixels]).unflatten(0, images.shape[:2])
    return low + size * (again.to(images.device, images.dtype) / 255)


def _as_jpeg(pixels: Tensor) -> Tensor:
    """One channel `[H, W]` of whole numbers up to 255."""
    stored = io.BytesIO()
    Image.frombytes("L", (pixels.shape[1], pixels.shape[0]), pixels.numpy().tobytes()).save(
        stored, "JPEG", quality=_QUALITY
    )
    with Image.open(stored) as image:
        return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(pixels.shape)


VIEWS: tuple[Change, ...] = (
    unchanged,
    mirrored,
    _shifted(1, 1),
    _shifted(-1, -1),
    _shifted(1, -1),
    cropped,
    _contrast(0.5),
    _contrast(1.5),
    noisy,
    compressed,
)
