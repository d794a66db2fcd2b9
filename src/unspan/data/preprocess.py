"""Evaluation-time input transforms with PIL and torch only.

The values are those of torchvision's and timm's PIL pipelines (resize in uint8, then crop, scale
and normalise in float32), so a model sees what it saw when its accuracy was published, without
either library being installed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unspan.data.images import to_rgb
from unspan.data.transformers_config import transformers_fields
from unspan.errors import UsageError

__all__ = ["Preprocess", "TextPreprocess", "resized_size", "to_rgb"]

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Size = tuple[int, int]

_PIL_FILTER = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_OFFSETS = ("round", "floor")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def resized_size(size: Size, resize: int | Size) -> Size:
    """Return the (height, width) after resizing `size`: an int is the shorter side, and the longer
    is rounded down.
    """
    if not isinstance(resize, int):
        return resize
    longer = int(resize * max(size) / min(size))
    return (resize, longer) if size[0] <= size[1] else (longer, resize)


def crop_start(length: int, crop: int, offset: str) -> int:
    """Return the first row or column of a centre crop; negative where the image is padded."""
    if offset == "floor":
        return (length - crop) // 2
    return round((length - crop) / 2) if length >= crop else -((crop - length) // 2)


@lru_cache(maxsize=16)
def _inputs_by_pixel(
    mean: tuple[float, ...], std: tuple[float, ...], scale: float
) -> np.ndarray[Any, Any]:
    """What each of the 256 values of a pixel becomes, `[C, 256]` float32."""
    pixels = torch.arange(256, dtype=torch.float64)
    scaled = pixels.mul(scale).float()  # rounded once, as dividing by 255 in float32 is
    centre, size = (torch.tensor(part, dtype=torch.float32)[:, None] for part in (mean, std))
    return ((scaled - centre) / size).numpy()


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_size(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_length, value))


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Resize, centre crop, scale and normalise one image.

    Attributes:
        resize: length of the shorter side in pixels, or an exact (height, width); None keeps the
            size.
        crop: (height, width) of the centre crop, zero-padded where the image is smaller; None keeps
            everything.
        interpolation: filter of the resize.
        mean: subtracted per channel, after scaling.
        std: divided by per channel, after the mean.
        scale: multiplies the uint8 values.
        mode: "RGB" for 3 channels, "L" for 1.
        crop_offset: the crop's first row and column when an odd number of pixels is left over:
            "round" half to even as torchvision and timm do, or "floor" as transformers does.

    Raises:
        UsageError: a field is out of range, or `mean` and `std` do not have one value per channel.
    """

    resize: int | Size | None = None
    crop: Size | None = None
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    scale: float = 1 / 255
    mode: Literal["RGB", "L"] = "RGB"
    crop_offset: Literal["round", "floor"] = "round"

    def __post_init__(self) -> None:
        if self.resize is not None and not (_is_length(self.resize) or _is_size(self.resize)):
            raise UsageError(
                f"resize={self.resize!r}: give a positive integer, (height, width) or None"
            )
        if self.crop is not None and not _is_size(self.crop):
            raise UsageError(f"crop={self.crop!r}: give (height, width) or None")
        for name, allowed in (
            ("interpolation", tuple(_PIL_FILTER)),
            ("mode", ("RGB", "L")),
            ("crop_offset", _OFFSETS),
        ):
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"{name}={getattr(self, name)!r}: choose from {', '.join(allowed)}"
                )
        channels = len(self.mode)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if (
                not isinstance(values, tuple)
                or len(values) != channels
                or not all(map(_is_finite, values))
            ):
                raise UsageError(
                    f"{name}={values!r}: give a tuple of {channels} finite number(s) for mode"
                    f" {self.mode}"
                )
        if 0 in self.std or not _is_finite(self.scale):
            raise UsageError(
                f"std={self.std!r}, scale={self.scale!r}: std must not contain 0, scale must be"
                " finite"
            )

    def __call__(self, image: Image.Image) -> Tensor:
        """Transform one image.

        Args:
            image: any Pillow image; it goes through `to_rgb` first.

        Returns:
            float32 tensor [C, H, W].
        """
        image = to_rgb(image)[0].convert(self.mode)
        if self.resize is not None:
            height, width = resized_size((image.height, image.width), self.resize)
            image = image.resize((width, height), _PIL_FILTER[self.interpolation])
        if self.crop is not None:
            top = crop_start(image.height, self.crop[0], self.crop_offset)
            left = crop_start(image.width, self.crop[1], self.crop_offset)
            image = image.crop((left, top, left + self.crop[1], top + self.crop[0]))
        pixels = np.asarray(image).reshape(image.height, image.width, -1)
        table = _inputs_by_pixel(self.mean, self.std, self.scale)
        planes = [values[pixels[:, :, channel]] for channel, values in enumerate(table)]
        return torch.from_numpy(np.stack(planes))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """Inverse of `to_dict`.

        Raises:
            UsageError: an unknown key, or a value that is out of range.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise UsageError(
                f"unknown preprocessing key(s) {', '.join(unknown)}: known are {', '.join(known)}"
            )
        arguments: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**arguments)

    @classmethod
    def from_timm(cls, cfg: Mapping[str, Any]) -> "Preprocess":
        """Read timm's `pretrained_cfg` (with timm's own defaults for what it leaves out).

        Raises:
            UsageError: a crop mode other than "center" and "squash", or a centre crop that is not
                square.
        """
        channels, height, width = cfg.get("input_size") or (3, 224, 224)
        crop_pct = cfg.get("crop_pct") or 0.875
        crop_mode = cfg.get("crop_mode") or "center"
        if channels not in (1, 3):
            raise UsageError(f"timm input_size has {channels} channels: only 1 and 3 are supported")
        if crop_mode not in ("center", "squash") or (crop_mode == "center" and height != width):
            raise UsageError(
                f"timm crop_mode {crop_mode!r} with input {height}x{width}: only 'squash' and a"
                " square 'center' crop are supported; pass your own Preprocess"
            )
        grown = (math.floor(height / crop_pct), math.floor(width / crop_pct))
        return cls(
            resize=grown if crop_mode == "squash" else grown[0],
            crop=(height, width),
            interpolation=cfg.get("interpolation") or "bicubic",
            mean=tuple(cfg.get("mean") or _IMAGENET_MEAN),
            std=tuple(cfg.get("std") or _IMAGENET_STD),
            mode="RGB" if channels == 3 else "L",
        )

    @classmethod
    def from_torchvision(cls, weights_transforms: Any) -> "Preprocess":
        """Read the object that torchvision's ``weights.transforms()`` returns.

        Raises:
            UsageError: the object is not an image classification preset.
        """
        try:
            resize, crop = weights_transforms.resize_size, weights_transforms.crop_size
            filter_name = weights_transforms.interpolation.value
            mean, std = tuple(weights_transforms.mean), tuple(weights_transforms.std)
        except AttributeError as error:
            raise UsageError(
                f"not torchvision classification transforms ({error}): pass weights.transforms()"
            ) from None
        return cls(
            resize=None if resize is None else resize[0] if len(resize) == 1 else tuple(resize),
            crop=(crop[0], crop[-1]),
            interpolation="nearest" if filter_name == "nearest-exact" else filter_name,
            mean=mean,
            std=std,
        )

    @classmethod
    def from_transformers(cls, cfg: Mapping[str, Any]) -> "Preprocess":
        """Read the contents of a transformers `preprocessor_config.json`, written by any release.

        Values are those of the PIL image processors; the torchvision ones resize tensors and differ
        in the last bits.

        Raises:
            UsageError: the file asks for a step that this transform does not have.
        """
        return cls(**transformers_fields(cfg))


@dataclass(frozen=True)
class TextPreprocess:
    """Leave a text as it is, and tokenise per batch so that padding is only as long as the batch
    needs.

    Attributes:
        tokenizer: a transformers tokenizer, or any callable with its signature.
    """

    tokenizer: Any

    def __call__(self, text: str) -> str:
        """Return the text unchanged."""
        return text

    def collate(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Tokenise a batch: tensors [B, longest text], cut at the tokenizer's own maximum
        length.
        """
        return dict(self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt"))
